//! Randomness from the system, in the shapes secrets have; in a simulation from the seed of the
//! thread.

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// URL-safe base64: 64 characters, so that six bits of a random byte choose one without bias.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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

/// Returns `N` bytes nobody can guess.
pub fn random_bytes<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    fill(bytes.as_mut());
    bytes
}

/// Returns a text of exactly `len` characters of `A-Za-z0-9-_`, six bits of randomness each.
pub fn random_text(len: usize) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    fill(&mut bytes);
    let mut text = Zeroizing::new(String::with_capacity(len));
    text.extend(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])));
    text
}

fn fill(bytes: &mut [u8]) {
    #[cfg(feature = "simulation")]
    if SEEDED.get() {
        return fastrand::fill(bytes);
    }
    SystemRandom::new().fill(bytes).expect("the system has randomness");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_length_asked_for_and_uses_the_whole_alphabet() {
        assert!(random_text(0).is_empty());
        // The chance that one of 64 characters is missing from 20,000 is below 10^-134.
        let text = random_text(20_000);
        assert_eq!(text.len(), 20_000);
        assert!(ALPHABET.iter().all(|&character| text.contains(char::from(character))));
        assert!(text.bytes().all(|byte| ALPHABET.contains(&byte)));
    }

    #[test]
    fn no_two_are_alike() {
        assert_ne!(*random_bytes::<32>(), *random_bytes::<32>());
        assert_ne!(*random_text(32), *random_text(32));
    }
}
