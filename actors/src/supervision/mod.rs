//! Supervision: gates bound what an actor is asked, seats say who answers, the supervisor starts again what falls.

pub(crate) mod budget;
pub(crate) mod gate;
pub(crate) mod seat;
pub(crate) mod supervisor;

pub use budget::RestartBudget;
pub use supervisor::{ActorStatus, Standing};
