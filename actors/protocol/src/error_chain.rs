use std::error::Error;

/// Returns `error` and its sources on one line, outermost first: `what: why: why`.
///
/// A source whose text the error before it already ends with is not repeated.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.ends_with(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layer(text: &'static str, source: Option<Layer>) -> Layer {
        Layer { text, source: source.map(Box::new) }
    }

    #[test]
    fn every_cause_is_named_once() {
        let middle = layer("dial: no route", Some(layer("no route", None)));
        assert_eq!(error_chain(&layer("call", Some(middle))), "call: dial: no route");
        assert_eq!(error_chain(&layer("alone", None)), "alone");
    }
}
