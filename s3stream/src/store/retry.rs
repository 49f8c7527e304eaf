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
    retry_in_turn(env, patience, || std::future::ready(()), |()| call()).await
}

/// The same, for calls that wait for something before each attempt, `turn`, which the attempt takes along. That wait is no
/// fault of the store: patience is of attempts and of what is between them, or the first fault after a long wait were final.
///
/// # Errors
/// As [`retry`].
pub async fn retry_in_turn<T, W, F>(
    env: &Env,
    patience: Option<Duration>,
    mut turn: impl FnMut() -> W,
    mut call: impl FnMut(W::Output) -> F,
) -> Result<T, StoreError>
where
    W: Future,
    F: Future<Output = Result<T, StoreError>>,
{
    let mut tried = Duration::ZERO;
    let mut attempt = 0;
    loop {
        let turn = turn().await;
        let begun = Instant::now();
        let error = match call(turn).await {
            Err(error @ StoreError::Transient(_)) => error,
            answered => return answered,
        };
        attempt += 1;
        if patience.is_some_and(|patience| tried + begun.elapsed() >= patience) {
            return Err(error);
        }
        if attempt > 3 {
            tracing::warn!(attempt, %error, "the store does not answer");
        }
        back_off(env, attempt).await;
        tried += begun.elapsed();
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

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_before_an_attempt_takes_no_patience() {
        let env = Env::seeded(1);
        let patience = Duration::from_secs(15);
        let turn = || tokio::time::sleep(Duration::from_secs(80));
        let mut left = 3;
        let answer = retry_in_turn(&env, Some(patience), turn, |()| {
            left -= 1;
            let now = left;
            async move { if now > 0 { Err(StoreError::Transient("again".into())) } else { Ok(now) } }
        });
        assert_eq!(answer.await.expect("answered in the end"), 0);

        let mut calls = 0;
        let gone = retry_in_turn::<(), _, _>(&env, Some(patience), turn, |()| {
            calls += 1;
            async {
                tokio::time::sleep(Duration::from_secs(4)).await;
                Err(StoreError::Transient("down".into()))
            }
        });
        gone.await.expect_err("down");
        assert!((3..=4).contains(&calls), "{calls} attempts of 4 seconds");
    }
}
