//! The admin server of a run, wherever it listens at a time, or nowhere.
//!
//! # Invariants
//!
//! 1. Another address is had before the one before is given up: where it cannot be had, nothing changes.
//! 2. Whoever has asked at the address before still gets the answer. Only events end there, once those
//!    that have happened are told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{AdminError, AdminServer, Bound, Known};
use crate::config::Admin;
use crate::pipeline::Monitor;
use crate::reload::{Answering, Control, Settle};

/// Answers as `[admin]` says, which a reload may change. Clones are the same.
#[derive(Debug, Clone)]
pub struct Reception {
    known: Known,
    place: Arc<Mutex<Place>>,
}

#[derive(Debug, Default)]
struct Place {
    admin: Option<Admin>,
    server: Option<AdminServer>,
    /// those of addresses before, while they still answer somebody
    leaving: Vec<AdminServer>,
}

impl Reception {
    /// Answers as `admin` says from what `monitor` and `control` know, and passes on to `control` what is
    /// to be changed.
    ///
    /// # Errors
    ///
    /// [`AdminError`] when the address cannot be had.
    pub async fn open(
        admin: Option<&Admin>,
        monitor: Arc<Monitor>,
        control: Control,
    ) -> Result<Self, AdminError> {
        let reception = Self {
            known: Known::new(monitor, control),
            place: Arc::default(),
        };
        let bound = reception.bind(admin).await?;
        reception.place().settle(bound, admin, &reception.known);
        Ok(reception)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that is wanted, unless it is the one that there is.
    async fn bind(&self, wanted: Option<&Admin>) -> Result<Option<Bound>, AdminError> {
        let own = self.place().admin.as_ref().map(|admin| admin.listen);
        match wanted {
            Some(admin) if own != Some(admin.listen) => match Bound::to(admin.listen).await {
                Ok(bound) => Ok(Some(bound)),
                Err(error) => Err(error.beside(own)),
            },
            _ => Ok(None),
        }
    }

    /// Takes no more questions, and ends once those under way are answered, or soon after.
    pub async fn stop(&self) {
        let Place {
            server, leaving, ..
        } = std::mem::take(&mut *self.place());
        let servers = leaving.into_iter().chain(server);
        join_all(servers.map(AdminServer::stop)).await;
    }
}

impl Place {
    fn settle(&mut self, bound: Option<Bound>, admin: Option<&Admin>, known: &Known) {
        let before = match (admin, bound) {
            (Some(admin), Some(bound)) => {
                let server = AdminServer::serve(bound, admin, known.clone());
                self.server.replace(server)
            }
            (Some(admin), None) => {
                if let Some(server) = &self.server {
                    server.set_token(admin.token.as_ref());
                }
                None
            }
            (None, _) => self.server.take(),
        };
        self.leaving.retain(|server| !server.has_ended());
        if let Some(server) = before {
            server.leave();
            self.leaving.push(server);
        }
        self.admin = admin.cloned();
    }
}

#[async_trait]
impl Answering for Reception {
    async fn prepare(&self, admin: Option<&Admin>) -> Result<Settle, String> {
        let bound = self.bind(admin).await.map_err(|error| error.to_string())?;
        let (reception, admin) = (self.clone(), admin.cloned());
        Ok(Box::new(move || {
            let mut place = reception.place();
            place.settle(bound, admin.as_ref(), &reception.known);
        }))
    }
}
