use std::fmt;
use std::str::FromStr;

/// An application that is there from the start: ready, and with its version 1 published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReadyApplication {
    pub name: String,
    /// The image that it is made of; without one the default image.
    pub image: Option<String>,
}

impl From<&str> for ReadyApplication {
    /// Returns the application `name`, of the default image.
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), image: None }
    }
}

impl FromStr for ReadyApplication {
    type Err = &'static str;

    /// Reads `NAME` or `NAME=IMAGE`. Refuses, as a sentence, an empty part, and a character that
    /// would have to be escaped in a URL.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, image) = match text.split_once('=') {
            Some((name, image)) => (name, Some(image)),
            None => (text, None),
        };
        if !is_word(name, "._-") {
            return Err("an application is NAME or NAME=IMAGE; a name is made of letters, \
                        digits, '.', '_' and '-'");
        }
        if image.is_some_and(|image| !is_word(image, "._-:/")) {
            return Err("an image is named such as jammy:android15:amd64 or jammy:aaos15:amd64; \
                        leave = out for the default image");
        }
        Ok(Self { name: name.to_owned(), image: image.map(str::to_owned) })
    }
}

impl fmt::Display for ReadyApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.image.iter().try_for_each(|image| write!(f, "={image}"))
    }
}

fn is_word(text: &str, punctuation: &str) -> bool {
    let may_be = |c: char| c.is_ascii_alphanumeric() || punctuation.contains(c);
    !text.is_empty() && text.chars().all(may_be)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_may_name_its_image() {
        assert_eq!("phone".parse(), Ok(ReadyApplication::from("phone")));
        let car: ReadyApplication = "e2e-tests_AAOS=jammy:aaos15:amd64".parse().expect("one");
        assert_eq!(car.name, "e2e-tests_AAOS");
        assert_eq!(car.image.as_deref(), Some("jammy:aaos15:amd64"));
        assert_eq!(car.to_string(), "e2e-tests_AAOS=jammy:aaos15:amd64");
    }

    #[test]
    fn what_names_no_application_or_no_image_is_refused_with_the_form_that_is_meant() {
        for wrong in ["", "=jammy:aaos15:amd64", "a/b", "a b", "a&start=1"] {
            let refused = wrong.parse::<ReadyApplication>().expect_err(wrong);
            assert!(refused.contains("NAME=IMAGE"), "{wrong}: {refused}");
        }
        for wrong in ["phone=", "phone=a b", "phone=jammy=x"] {
            let refused = wrong.parse::<ReadyApplication>().expect_err(wrong);
            assert!(refused.contains("jammy:aaos15:amd64"), "{wrong}: {refused}");
        }
    }
}
