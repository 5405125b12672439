//! Several attempts beside each other, of which the first success counts.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

/// The pause after which more attempts begin beside those under way: RFC 8305, section 8, has a
/// quarter of a second between two addresses.
const MORE_AFTER: Duration = Duration::from_millis(250);

/// Attempts each of `items` until one attempt succeeds, and returns its result. Begins with one;
/// after each pause of 250 ms, and when all under way have failed, twice as many begin beside them:
/// the time to one that answers does not grow with those that do not.
///
/// # Errors
///
/// Every failure, when none succeeds.
///
/// # Cancel safety
///
/// Dropping the future drops all attempts.
pub async fn race<T, R, E, F>(items: Vec<T>, attempt: impl Fn(T) -> F) -> Result<R, Vec<E>>
where
    F: Future<Output = Result<R, E>>,
{
    let (mut waiting, mut failures) = (items.into_iter(), Vec::new());
    let mut under_way = FuturesUnordered::new();
    for wave in 0u32.. {
        let more = 1usize.checked_shl(wave).unwrap_or(usize::MAX);
        under_way.extend(waiting.by_ref().take(more).map(&attempt));
        let pause = sleep(MORE_AFTER);
        tokio::pin!(pause);
        while !under_way.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = under_way.next() => match ended {
                    Ok(found) => return Ok(found),
                    Err(failure) => failures.push(failure),
                },
                () = &mut pause, if waiting.len() > 0 => break,
            }
        }
        if under_way.is_empty() && waiting.len() == 0 {
            break;
        }
    }
    Err(failures)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().expect("a runtime").block_on(test)
    }

    #[test]
    fn the_time_to_the_first_that_answers_does_not_grow_with_those_that_do_not() {
        let took = |dead: usize| {
            run(async {
                let begun = tokio::time::Instant::now();
                let found = race((0..=dead).collect(), |n| async move {
                    if n < dead {
                        pending::<()>().await;
                    }
                    Ok::<_, ()>(n)
                });
                assert_eq!(found.await, Ok(dead));
                begun.elapsed()
            })
        };
        assert_eq!(took(0), Duration::ZERO);
        assert!(took(1) < MORE_AFTER * 2 && took(100) < MORE_AFTER * 8, "{:?}", took(100));
    }

    #[test]
    fn who_refuses_at_once_costs_no_pause() {
        run(async {
            let begun = tokio::time::Instant::now();
            let found =
                race((0..50).collect(), |n| async move { if n == 49 { Ok(n) } else { Err(n) } });
            assert_eq!(found.await, Ok(49));
            let none = race(vec![1, 2, 3], |n| async move { Err::<(), _>(n) }).await;
            assert_eq!(none.map_err(|failures| failures.len()), Err(3));
            assert_eq!(race(Vec::<()>::new(), |()| async { Err::<(), ()>(()) }).await, Err(vec![]));
            assert!(begun.elapsed() < MORE_AFTER);
        });
    }
}
