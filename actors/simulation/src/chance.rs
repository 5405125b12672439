//! Everything that happens by chance, from one seed.

use std::time::Duration;

/// How the network and AMS treat what is sent: chances out of 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noise {
    /// That a message or its answer is lost.
    pub(crate) loss: u16,
    /// That one takes up to two seconds.
    pub(crate) delay: u16,
    /// That a request arrives twice.
    pub(crate) repetition: u16,
    /// That a live message is lost.
    pub(crate) missed_hint: u16,
    /// That a server answers which lags, where any of several may answer.
    pub(crate) lag: u16,
    /// That AMS fails, is slow, or says what is not so.
    pub(crate) ams: u16,
}

impl Noise {
    pub(crate) const QUIET: Self =
        Self { loss: 0, delay: 0, repetition: 0, missed_hint: 0, lag: 0, ams: 0 };
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loss {
    None,
    /// It does not arrive.
    There,
    /// It is acted on, and nobody hears of it.
    Back,
}

/// How one exchange goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) there: Duration,
    pub(crate) back: Duration,
    pub(crate) loss: Loss,
}

pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Whether what has a chance of `thousandths` happens.
    pub(crate) fn happens(&mut self, thousandths: u16) -> bool {
        thousandths > 0 && self.0.u16(0..1000) < thousandths
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(0..end.max(1))
    }

    /// Returns a time between two, in milliseconds.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.u64(from..=to))
    }

    pub(crate) fn fate(&mut self, noise: Noise) -> Fate {
        let loss = match self.happens(noise.loss) {
            false => Loss::None,
            true if self.0.bool() => Loss::There,
            true => Loss::Back,
        };
        Fate { there: self.delay(noise), back: self.delay(noise), loss }
    }

    pub(crate) fn delay(&mut self, noise: Noise) -> Duration {
        match self.happens(noise.delay) {
            true => self.millis(10, 2000),
            false => Duration::from_micros(self.0.u64(100..3000)),
        }
    }
}
