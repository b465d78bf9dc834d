//! Reading files beside the runtime's threads, when their disk may not answer.
//!
//! A thread that reads from a mount that hangs cannot be ended: whoever waits for it gives up, and the thread stays. So only
//! so many are lent, and each comes back when its read does.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The most reads at a time: far more than healthy ones need, far fewer than the threads that the runtime has for all.
pub(crate) const MOST: usize = 64;

/// Threads for one kind of reads. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Reads(Arc<Semaphore>);

impl Default for Reads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Reads {
    /// Reads on a thread of its own. Dropping the future leaves the read behind, in its place.
    ///
    /// # Errors
    /// There is no place left, or the read broke off.
    pub(crate) async fn run<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            return Err(format!(
                "{MOST} reads of such files have not come back, so no more are begun: does their disk or mount answer?"
            ));
        };
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the read is over, whoever still waits for it.
            let _place = place;
            read()
        });
        reading.await.map_err(|_| "reading the file broke off".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_mount_that_hangs_keeps_so_many_threads_and_no_more() {
        let reads = Reads::default();
        let mut hung = Vec::new();
        for _ in 0..MOST {
            let (end, ended) = mpsc::channel::<()>();
            hung.push(end);
            let given_up = reads.run(move || ended.recv().is_ok());
            // Polled once, then left alone.
            assert!(tokio::time::timeout(Duration::ZERO, given_up).await.is_err());
        }
        let refused = reads.clone().run(|| ()).await.unwrap_err();
        assert!(refused.contains("does their disk or mount answer?"), "{refused}");
        drop(hung);
        tokio::time::timeout(Duration::from_secs(20), async {
            while reads.run(|| ()).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
