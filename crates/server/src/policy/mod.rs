//! `tresor policy`: cases with expected decisions, explanations and warnings. Reads files and asks the same pure functions as the
//! server; must never decide anything itself.

mod case;
mod check;
mod explain;
mod judge;
mod lint;
mod uploads;

pub use check::check;
pub use explain::explain;
pub use lint::lint;
