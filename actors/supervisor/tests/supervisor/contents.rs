//! What becomes of a mailbox's contents, whatever fails among them: beside a model of a few lines.

use futures_util::future::join_all;
use proptest::prelude::*;
use stream_supervisor::AskError;

use crate::counter::{Count, Fail, Fixture, MODES, limits, on, tireless, until};

/// One of many messages that are sent without waiting for the answers.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Count,
    Panic,
    Error,
}

/// What its asker gets.
type Answer = Result<Option<u32>, AskError>;

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![4 => Just(Sent::Count), 1 => Just(Sent::Panic), 1 => Just(Sent::Error)]
}

/// Every message is answered, in order, by the state that its turn finds; a failure costs the
/// state and, if it is a panic, the answer in hand.
fn model(sent: &[Sent]) -> Vec<Answer> {
    let mut count = 0;
    let answers = sent.iter().map(|sent| match sent {
        Sent::Count => {
            count += 1;
            Ok(Some(count))
        }
        Sent::Panic => {
            count = 0;
            Err(AskError::Crashed)
        }
        Sent::Error => {
            count = 0;
            Ok(None)
        }
    });
    answers.collect()
}

async fn played(fixture: &Fixture, sent: &[Sent]) -> Vec<Answer> {
    let counter = &fixture.counter;
    let asked = sent.iter().map(async |sent| match sent {
        Sent::Count => counter.ask(Count).await.map(Some),
        Sent::Panic => counter.ask(Fail::Panic).await.map(|()| None),
        Sent::Error => counter.ask(Fail::Error).await.map(|()| None),
    });
    join_all(asked).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_message_is_answered_in_order_whatever_fails_among_them(
        sent in prop::collection::vec(sent(), 0..=limits().mailbox_capacity),
    ) {
        // Thousands of backtraces would be most of what this does.
        std::panic::set_hook(Box::new(|_| {}));
        let failures = sent.iter().filter(|sent| !matches!(sent, Sent::Count)).count();
        for mode in MODES {
            on(async {
                let fixture = Fixture::new(mode, tireless());
                assert_eq!(played(&fixture, &sent).await, model(&sent), "{mode:?}");
                let as_many = |restarts: u64| restarts == failures as u64;
                until(&fixture.supervisor, "counter", |actor| as_many(actor.restarts)).await;
                let status = &fixture.supervisor.status()[0];
                assert_eq!((status.depth, status.refused), (0, 0));
            });
        }
        drop(std::panic::take_hook());
    }
}
