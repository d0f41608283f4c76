//! `tresor policy`: cases with expected decisions, explanations and warnings. Reads files and asks the same pure functions as the
//! server; must never decide anything itself.

mod case;
mod check;
mod judge;

pub use check::check;
