//! The servers for as long as somebody uses them.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Address, Services, kafka_protocol};

/// Running servers. When the last session ends they are stopped, unless `services up` keeps them.
pub(crate) struct Session {
    services: Services,
    /// Locked shared by every session; whoever gets it alone is the last.
    users: Option<File>,
    addresses: Vec<Address>,
    programs: Vec<(&'static str, String)>,
}

impl Session {
    /// Starts what does not run.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Self::over(Services::new(folder))
    }

    /// The same with a second set of servers, in a folder of their own below this one, which share its
    /// downloads. Whatever the environment says, these are ours, so they may crash.
    pub(crate) fn open_apart(folder: &Path, name: &str) -> Result<Self> {
        let (dist, apart) = (folder.join("dist"), folder.join(name));
        for folder in [&dist, &apart] {
            fs::create_dir_all(folder)
                .with_context(|| format!("failed to create {}", folder.display()))?;
        }
        let link = apart.join("dist");
        if !link.exists() {
            symlink(&dist, &link)
                .with_context(|| format!("failed to create {}", link.display()))?;
        }
        Self::over(Services {
            folder: apart,
            foreign: false,
        })
    }

    fn over(services: Services) -> Result<Self> {
        let lock = services.lock()?;
        let users = services.lock_file("users")?;
        users.lock_shared().context("failed to lock the servers")?;
        let mut session = Self {
            services,
            users: Some(users),
            addresses: Vec::new(),
            programs: Vec::new(),
        };
        let started = session.services.start();
        // Closing, which is what an error leads to, takes the lock again.
        drop(lock);
        started?;
        session.addresses = session.services.addresses()?;
        session.programs = session.services.programs()?;
        Ok(session)
    }

    /// Where all of the servers are.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What tests need to start servers of their own, by the variables in which they look for it.
    pub(crate) fn programs(&self) -> &[(&'static str, String)] {
        &self.programs
    }

    /// `host:port` of Kafka.
    pub(crate) fn kafka(&self) -> &str {
        self.address("WASMILL_TEST_KAFKA")
    }

    /// URL of PostgreSQL.
    pub(crate) fn postgres(&self) -> &str {
        self.address("WASMILL_TEST_POSTGRES")
    }

    /// URL of Elasticsearch.
    pub(crate) fn elasticsearch(&self) -> &str {
        self.address("WASMILL_TEST_ELASTICSEARCH")
    }

    /// Lets a server crash and starts it again, with its data.
    pub(crate) fn restart(&self, name: &str) -> Result<()> {
        let _lock = self.services.lock()?;
        self.services.restart(name)
    }

    /// Lets the servers go on, for a look at what they hold. The next session finds them, and stops them at
    /// its end.
    pub(crate) fn leave(mut self) {
        self.users = None;
    }

    /// Deletes a topic; returns whether there was one.
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<bool> {
        kafka_protocol::delete_topic(self.kafka(), topic)
    }

    /// Ends the session and says what went wrong in that, which dropping it only logs.
    pub(crate) fn close(mut self) -> Result<()> {
        self.end()
    }

    fn address(&self, variable: &str) -> &str {
        let found = self.addresses.iter().find(|it| it.variable == variable);
        &found.expect("an open session knows every server").value
    }

    fn end(&mut self) -> Result<()> {
        let Some(users) = self.users.take() else {
            return Ok(());
        };
        let _lock = self.services.lock()?;
        drop(users);
        if self.services.are_kept() {
            return Ok(());
        }
        match self.services.lock_file("users")?.try_lock() {
            Ok(()) => self.services.stop(),
            Err(TryLockError::WouldBlock) => {
                eprintln!("the servers go on: another `cargo xtask` uses them");
                Ok(())
            }
            Err(TryLockError::Error(error)) => Err(error).context("failed to lock the servers"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("failed to stop the servers: {error:#}");
        }
    }
}
