//! What is measured of the relays.

use std::time::Instant;

use stream_metrics::{Durations, Exposition};

use crate::RelayState;
use crate::probe::Unfit;

/// The figures of this process. A restart of the actor keeps them.
#[derive(Clone)]
pub(crate) struct TurnMetrics(Durations);

impl Default for TurnMetrics {
    fn default() -> Self {
        Self(Durations::of_calls())
    }
}

impl TurnMetrics {
    /// Measures the probe of a relay, with what it finds.
    pub(crate) async fn observe(
        &self,
        probe: impl Future<Output = Result<(), Unfit>>,
    ) -> Result<(), Unfit> {
        let begun = Instant::now();
        let end = probe.await;
        let verdict = end.as_ref().err().map_or("ok", |unfit| unfit.verdict);
        self.0.observe(&vec![("verdict", verdict)], begun.elapsed());
        end
    }

    pub(crate) fn collect(&self, states: [(RelayState, usize); 3], exposition: &mut Exposition) {
        let help = "Time that the probe of a relay took over all its transports, by what it found";
        exposition.durations("relay_probe_duration_seconds", help, &self.0);
        let word = |state| match state {
            RelayState::Healthy => "healthy",
            RelayState::Withheld => "withheld",
            RelayState::Drained => "drained",
        };
        let states = states.map(|(state, count)| (word(state).to_owned(), count as u64));
        exposition.counts("relays", "Relays that are configured", "state", states);
    }
}
