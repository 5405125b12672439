//! Randomness from the system or, in a simulation, from the seed of the thread.

use ring::rand::{SecureRandom, SystemRandom};

#[cfg(feature = "simulation")]
thread_local! {
    static SEEDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Has this thread draw what is random from the generator of `fastrand`, which may be seeded. For
/// simulations: anybody can foresee it then.
#[cfg(feature = "simulation")]
pub fn draw_from_seed() {
    SEEDED.set(true);
}

/// Fills `bytes` with what nobody can guess.
pub(crate) fn fill(bytes: &mut [u8]) {
    #[cfg(feature = "simulation")]
    if SEEDED.get() {
        return fastrand::fill(bytes);
    }
    SystemRandom::new().fill(bytes).expect("the system has randomness");
}
