use std::error::Error;

/// Returns `error` with its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::MediaError;

    #[test]
    fn causes_follow_what_they_caused() {
        let error = MediaError::Socket(std::io::Error::other("no route"));
        assert_eq!(chain(&error), "the socket failed: no route");
    }
}
