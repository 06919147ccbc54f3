//! Whom the servers run as. PostgreSQL and Elasticsearch refuse to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools;

/// Leaves a process its rights on files and takes the name of root away from it.
const UNSHARE: [&str; 3] = ["--user", "--map-user=1000", "--map-group=1000"];

/// Accounts that may stand in for root, best first.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

/// Whom servers run as.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Ourselves: we are not root.
    Caller,
    /// Root, who does not look like root: in a user namespace.
    Namespace,
    /// Another user, where namespaces are forbidden (as in most containers).
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// Finds one that can work in `folder`.
    pub(super) fn choose(folder: &Path) -> Result<Self> {
        if !tools::is_root()? {
            return Ok(Self::Caller);
        }
        if succeeds(Self::Namespace.command("true")) {
            return Ok(Self::Namespace);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("failed to read /etc/passwd")?;
        let stand_in = STAND_INS.iter().find_map(|name| find(&passwd, name));
        let account = stand_in.context("there is no user that servers could run as")?;
        if !succeeds(account.command("true").current_dir(folder)) {
            bail!(
                "user namespaces are off, and {account} cannot enter {}: name another folder with \
                 --services-dir, for example /var/tmp/wasmill-services",
                folder.display()
            );
        }
        Ok(account)
    }

    /// A command that runs as this account. The process that it starts becomes `program` itself.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        match self {
            Self::Caller => Command::new(program),
            Self::Namespace => {
                let mut command = Command::new("unshare");
                command.args(UNSHARE).arg("--").arg(program);
                command
            }
            Self::Other { uid, gid, .. } => {
                let mut command = Command::new(program);
                command.uid(*uid).gid(*gid);
                command
            }
        }
    }

    /// Gives `path`, and all below it, to this account, in case an earlier run used another one.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        let (uid, gid) = match self {
            Self::Caller => return Ok(()),
            Self::Namespace => (0, 0),
            Self::Other { uid, gid, .. } => (*uid, *gid),
        };
        let metadata = fs::symlink_metadata(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        if metadata.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own(&entry?.path())?;
            }
        }
        if metadata.uid() != uid && !metadata.is_symlink() {
            chown(path, Some(uid), Some(gid))
                .with_context(|| format!("failed to give {} to {self}", path.display()))?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Caller => "ourselves",
            Self::Namespace => "root in a user namespace",
            Self::Other { name, .. } => name,
        })
    }
}

fn succeeds(mut command: impl std::borrow::BorrowMut<Command>) -> bool {
    let command = command.borrow_mut();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The user `name` in the text of `/etc/passwd`.
fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        Some(Account::Other {
            name: name.to_owned(),
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      postgres2:x:7:7::/:/bin/sh\n\
                      postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(
            find(passwd, "postgres"),
            Some(Account::Other {
                name: "postgres".to_owned(),
                uid: 101,
                gid: 104
            })
        );
        assert_eq!(find(passwd, "nobody"), None);
        assert_eq!(find("nobody:x\n", "nobody"), None);
    }

    #[test]
    fn a_command_in_a_namespace_names_the_program_last() {
        let command = Account::Namespace.command("/bin/postgres");
        assert_eq!(
            crate::group::render(&command),
            "unshare --user --map-user=1000 --map-group=1000 -- /bin/postgres"
        );
    }
}
