//! An object store in memory whose calls can be interrupted, fail, or lose their answer.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::bugs::Bug;
use super::dice::{Dice, Fate};

/// The store of one host; what is in it outlives the host.
#[derive(Debug)]
pub(super) struct SimulatedStore {
    pub(super) objects: Arc<InMemory>,
    pub(super) dice: Dice,
    pub(super) bug: Option<Bug>,
}

impl fmt::Display for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

fn away() -> Error {
    Error::Generic {
        store: "Simulated",
        source: "status 503: the dice fell so".into(),
    }
}

impl SimulatedStore {
    async fn attempt<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.dice.moment().await;
        let fate = self.dice.fate();
        if fate == Fate::FailsBefore {
            return Err(away());
        }
        let done = work.await;
        self.dice.moment().await;
        if fate == Fate::FailsAfter {
            return Err(away());
        }
        done
    }
}

#[async_trait]
impl ObjectStore for SimulatedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let lost = self.bug == Some(Bug::FileLost) && location.extension() == Some("arrow");
        if lost && self.dice.chance(0.05) {
            let payload = PutPayload::from_static(b"");
            return self.objects.put_opts(location, payload, opts).await;
        }
        self.attempt(self.objects.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.attempt(self.objects.get_opts(location, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if self.dice.fate() == Fate::FailsBefore {
            return futures_util::stream::iter([Err(away())]).boxed();
        }
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.dice.fate() == Fate::FailsBefore {
            return futures_util::stream::iter([Err(away())]).boxed();
        }
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.attempt(self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.attempt(self.objects.copy_opts(from, to, options))
            .await
    }
}
