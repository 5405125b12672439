//! What becomes of a mailbox's contents, whatever fails among them: beside a model of a few lines.

use futures_util::future::join_all;
use proptest::prelude::*;
use stream_supervisor::Unavailable;

use crate::counter::{Count, Fail, Fixture, SHAPES, limits, on, tireless, until};

/// One of many messages that are sent without waiting for the answers.
#[derive(Clone, Copy, Debug)]
enum Letter {
    Count,
    Panic,
    Error,
}

/// What its asker gets.
type Answer = Result<Option<u32>, Unavailable>;

fn letter() -> impl Strategy<Value = Letter> {
    prop_oneof![4 => Just(Letter::Count), 1 => Just(Letter::Panic), 1 => Just(Letter::Error)]
}

/// Every message is answered, in order, by the state that its turn finds; a failure costs the
/// state and, if it is a panic, the answer in hand.
fn model(letters: &[Letter]) -> Vec<Answer> {
    let mut count = 0;
    let answers = letters.iter().map(|letter| match letter {
        Letter::Count => {
            count += 1;
            Ok(Some(count))
        }
        Letter::Panic => {
            count = 0;
            Err(Unavailable::Crashed)
        }
        Letter::Error => {
            count = 0;
            Ok(None)
        }
    });
    answers.collect()
}

async fn played(fixture: &Fixture, letters: &[Letter]) -> Vec<Answer> {
    let counter = &fixture.counter;
    let asked = letters.iter().map(async |letter| match letter {
        Letter::Count => counter.ask(Count).await.map(Some),
        Letter::Panic => counter.ask(Fail::Panic).await.map(|()| None),
        Letter::Error => counter.ask(Fail::Error).await.map(|()| None),
    });
    join_all(asked).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_message_is_answered_in_order_whatever_fails_among_them(
        letters in prop::collection::vec(letter(), 0..=limits().mailbox),
    ) {
        // Thousands of backtraces would be most of what this does.
        std::panic::set_hook(Box::new(|_| {}));
        let failures = letters.iter().filter(|letter| !matches!(letter, Letter::Count)).count();
        for shape in SHAPES {
            on(async {
                let fixture = shape.fixture(tireless());
                assert_eq!(played(&fixture, &letters).await, model(&letters), "{shape:?}");
                let as_many = |restarts: u64| restarts == failures as u64;
                until(&fixture.supervisor, "counter", |actor| as_many(actor.restarts)).await;
                let status = &fixture.supervisor.status()[0];
                assert_eq!((status.depth, status.refused), (0, 0));
            });
        }
        drop(std::panic::take_hook());
    }
}
