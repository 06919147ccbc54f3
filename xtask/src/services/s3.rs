//! S3: `s3proxy`, a server of that protocol which keeps its objects in a folder. It knows signatures and
//! conditional puts, which is what checkpoints need of a server.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::account::Account;
use super::download::{Artifact, Download};
use super::server::{Facts, Home, Server};
use crate::signal::Signal;
use crate::{http, tools};

/// The one bucket.
const BUCKET: &str = "wasmill";

const ACCESS_KEY: &str = "wasmill";
const SECRET_KEY: &str = "wasmill-secret";

/// Problems alone; it would tell of every request.
const LOGGING: &str = r#"<configuration>
  <appender name="console" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %-5level %logger{1} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="console"/></root>
</configuration>
"#;

static FACTS: Facts = Facts {
    name: "s3",
    variable: "WASMILL_TEST_S3",
    pipeline_variable: None,
    ports: 1,
    needs: &[tools::Tool::Java],
    download: Some(Download {
        folder: "s3proxy-4.1.0",
        megabytes: 57,
        goal: "copy-dependencies",
        arguments: &[],
        dependencies: &[
            Artifact {
                group: "org.gaul",
                name: "s3proxy",
                version: "4.1.0",
            },
            // Other dependencies ask for an older one, which lacks a class that s3proxy needs.
            Artifact {
                group: "com.fasterxml.jackson.core",
                name: "jackson-annotations",
                version: "2.21",
            },
        ],
    }),
    stop_signal: Signal::Terminate,
    crash_signal: Signal::Kill,
    stop_deadline: Duration::from_secs(10),
};

/// The server of S3.
pub(super) struct S3;

impl Server for S3 {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn prepare(&self, home: &Home, account: &Account, ports: &[u16]) -> Result<Command> {
        let data = home.path.join("data");
        let bucket = data.join(BUCKET);
        fs::create_dir_all(&bucket)
            .with_context(|| format!("failed to create {}", bucket.display()))?;
        let logging = home.write("logback.xml", LOGGING)?;
        let settings = home.write("s3proxy.properties", &properties(ports, &data))?;
        let mut command = account.command(tools::java_home()?.join("bin/java"));
        command
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(home.dist.join("*"))
            .arg(format!("-Dlogback.configurationFile={}", logging.display()))
            .args(["org.gaul.s3proxy.Main", "--properties"])
            .arg(settings)
            .current_dir(&home.path);
        Ok(command)
    }

    fn address(&self, ports: &[u16]) -> String {
        let port = ports[0];
        format!("http://{ACCESS_KEY}:{SECRET_KEY}@127.0.0.1:{port}/{BUCKET}")
    }

    fn probe(&self, address: &str) -> Result<()> {
        let authority = http::authority(address).context("not an http address")?;
        let response = http::request("GET", &authority, "/")?;
        // The request is not signed.
        ensure!(response.status == 403, "it answers {}", response.status);
        Ok(())
    }
}

/// `s3proxy.properties`.
fn properties(ports: &[u16], data: &Path) -> String {
    let (port, data) = (ports[0], data.display());
    format!(
        "s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v4
s3proxy.identity={ACCESS_KEY}
s3proxy.credential={SECRET_KEY}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={data}
# What a folder is asked for, which has neither.
jclouds.identity=none
jclouds.credential=none
"
    )
}
