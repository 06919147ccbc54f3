//! Whoever answers questions about the run, as `[admin]` says: known here so that a reload can tell.

use async_trait::async_trait;

use crate::config::Admin;

/// Has another `[admin]` take effect; where it is dropped instead, nothing has changed.
pub type Settle = Box<dyn FnOnce() + Send>;

/// Whoever answers.
#[async_trait]
pub trait Answering: Send + Sync {
    /// Has all that it takes to answer as `admin` says, or not at all, and changes nothing for those who
    /// ask meanwhile. An address is had from now on, if it is another one.
    ///
    /// # Errors
    ///
    /// Why it cannot be, for a person.
    async fn prepare(&self, admin: Option<&Admin>) -> Result<Settle, String>;
}
