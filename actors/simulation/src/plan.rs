//! What happens in a simulation and when, drawn from its seed before it begins: leaving some of it
//! out changes nothing about the rest.

use std::fmt;
use std::time::Duration;

use crate::chance::{Chance, Noise};
use crate::client::{End, Visit};
use crate::guest::Parting;

/// How long things happen; what follows is quiet.
pub(crate) const EVENTFUL: Duration = Duration::from_secs(180);

/// How long the units have to start before anything happens.
const BEGIN: Duration = Duration::from_secs(8);

pub(crate) struct Plan {
    pub(crate) agents: usize,
    pub(crate) gateways: usize,
    pub(crate) noise: Noise,
    /// Whether several servers keep what is stored.
    pub(crate) is_replicated: bool,
    /// How many signals there is room for.
    pub(crate) log_room: usize,
    /// In the order of their times.
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

/// One thing that happens. Units are numbered; a number beyond the last one begins anew.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Create(Visit),
    Join(Visit),
    /// The unit dies with one of its next calls, before or after that is done.
    Crash {
        unit: usize,
        calls: u32,
        after: bool,
        away: Duration,
    },
    Pause {
        unit: usize,
        time: Duration,
    },
    CutOff {
        unit: usize,
        time: Duration,
    },
    RestartServer {
        time: Duration,
    },
    Elect {
        after: Duration,
    },
    Drain {
        agent: usize,
    },
    MuteAms {
        time: Duration,
    },
    /// An instance fails or stops, and perhaps starts again.
    Break {
        instance: usize,
        fails: bool,
        again: Option<Duration>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s {:?}", self.at.as_secs_f64(), self.what)
    }
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x0070_6c61_6e00);
        let is_noisy = chance.happens(600);
        let mut level = |most: usize| match is_noisy {
            true => u16::try_from(chance.below(most)).unwrap_or(0),
            false => 0,
        };
        let noise = Noise {
            loss: level(15),
            delay: level(80),
            repetition: level(50),
            missed_hint: level(300),
            lag: level(500),
            ams: level(150),
        };
        let is_replicated = chance.happens(500);
        let log_room = if chance.happens(500) { 5 + chance.below(60) } else { usize::MAX };
        let (agents, gateways) = (2 + chance.below(2), 1 + chance.below(2));
        let count = 6 + chance.below(24);
        let mut steps: Vec<_> = (0..count).map(|_| Step::draw(&mut chance)).collect();
        steps.sort_by_key(|step| step.at);
        Self { agents, gateways, noise, is_replicated, log_room, steps }
    }
}

impl Step {
    fn draw(chance: &mut Chance) -> Self {
        let at = BEGIN + chance.millis(0, (EVENTFUL - BEGIN).as_millis() as u64);
        let seconds = |chance: &mut Chance, most: u64| chance.millis(200, most * 1000);
        let what = match chance.below(100) {
            0..36 => What::Create(visit(chance)),
            36..56 => What::Join(visit(chance)),
            56..66 => What::Crash {
                unit: chance.below(8),
                calls: 1 + chance.below(40) as u32,
                after: chance.happens(500),
                away: seconds(chance, 40),
            },
            66..72 => What::Pause { unit: chance.below(8), time: seconds(chance, 40) },
            72..78 => What::CutOff { unit: chance.below(8), time: seconds(chance, 40) },
            78..82 => What::RestartServer { time: seconds(chance, 5) },
            82..86 => What::Elect { after: seconds(chance, 5) },
            86..91 => What::Drain { agent: chance.below(4) },
            91..94 => What::MuteAms { time: seconds(chance, 30) },
            _ => What::Break {
                instance: chance.below(16),
                fails: chance.happens(500),
                again: chance.happens(500).then(|| seconds(chance, 30)),
            },
        };
        Self { at, what }
    }
}

fn visit(chance: &mut Chance) -> Visit {
    Visit {
        joinable: chance.happens(700),
        rejects: chance.happens(300),
        comes: chance.happens(850),
        stays: chance.millis(1000, 150_000),
        parting: match chance.below(10) {
            0..3 => Parting::Keeps,
            3..6 => Parting::Closes,
            6..9 => Parting::Breaks { returns: chance.happens(500) },
            _ => Parting::Freezes,
        },
        parts_after: chance.millis(1000, 60_000),
        end: if chance.happens(400) { End::Deletes } else { End::Leaves },
    }
}
