//! `tresor policy`: cases with expected decisions, explanations and warnings. Reads files, or what the server has stored, and asks the
//! same pure functions as the server; must never decide anything itself.

mod case;
mod check;
mod explain;
mod judge;
mod lint;
mod stored;
mod uploads;

pub use check::check;
pub use explain::explain;
pub use lint::lint;
pub use stored::{Asked, explain as explain_stored};
