//! Asking again after a transient fault (I10), for calls that may simply be repeated: reads, lists, deletes. Creates have
//! their own loop, [`super::create`].

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::StoreError;
use super::create::back_off;
use crate::env::Env;

/// Calls `call` until it is answered; pauses between grow and are jittered. With `patience`, gives up with the last error
/// when it would pause beyond it; without, never.
///
/// # Errors
/// What is not [`StoreError::Transient`] at once; after `patience`, what came last.
pub async fn retry<T, F>(
    env: &Env,
    patience: Option<Duration>,
    mut call: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let begun = Instant::now();
    let mut attempt = 0;
    loop {
        let error = match call().await {
            Err(error @ StoreError::Transient(_)) => error,
            answered => return answered,
        };
        attempt += 1;
        if patience.is_some_and(|patience| begun.elapsed() >= patience) {
            return Err(error);
        }
        if attempt > 3 {
            tracing::warn!(attempt, %error, "the store does not answer");
        }
        back_off(env, attempt).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn transient_faults_are_asked_again_others_are_not() {
        let env = Env::seeded(1);
        let mut left = 5;
        let answer = retry(&env, None, || {
            left -= 1;
            let now = left;
            async move { if now > 0 { Err(StoreError::Transient("again".into())) } else { Ok(now) } }
        });
        assert_eq!(answer.await.expect("answered in the end"), 0);

        let mut calls = 0;
        let refused = retry::<(), _>(&env, None, || {
            calls += 1;
            async { Err(StoreError::Refused("no".into())) }
        });
        refused.await.expect_err("refused");
        assert_eq!(calls, 1);

        let begun = Instant::now();
        let patience = Duration::from_secs(30);
        let gone =
            retry::<(), _>(&env, Some(patience), || async { Err(StoreError::Transient("down".into())) });
        gone.await.expect_err("down");
        assert!(begun.elapsed() >= patience && begun.elapsed() < 2 * patience);
    }
}
