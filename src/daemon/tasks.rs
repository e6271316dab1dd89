//! Tasks with an owner.

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks that are stopped together.
pub(super) struct Tasks {
    pub(super) stop: CancellationToken,
    pub(super) running: JoinSet<anyhow::Result<()>>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            running: JoinSet::new(),
        }
    }

    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.running.spawn(async move { task.await.context(name) });
    }

    /// The first task that ends, which none does unless it fails.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) => anyhow::anyhow!("a task ended by itself"),
            Some(Err(error)) => error.into(),
        }
    }

    /// Tells all tasks to stop and waits for them.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut result = Ok(());
        while let Some(ended) = self.running.join_next().await {
            result = result.and(ended.map_err(Into::into).and_then(|inner| inner));
        }
        result
    }
}
