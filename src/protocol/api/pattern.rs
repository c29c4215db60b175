//! Which rooms a `channels` request means.

/// A pattern over whole names: `*` stands for any run of characters, `?` for any one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<char>);

impl Pattern {
    /// Reads a pattern; the empty one matches every name.
    ///
    /// # Errors
    /// The character that would mean something to other servers and means nothing here.
    pub fn parse(text: &str) -> Result<Self, char> {
        match text.chars().find(|c| "[]{}\\".contains(*c)) {
            Some(unknown) => Err(unknown),
            None if text.is_empty() => Ok(Self(vec!['*'])),
            None => Ok(Self(text.chars().collect())),
        }
    }

    /// Whether all of `name` fits. Takes at most the product of both lengths in steps: of all the
    /// stars that have been passed, only the last is ever tried again.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let pattern = &self.0[..];
        let name: Vec<_> = name.chars().collect();
        let (mut at, mut from) = (0, 0);
        // Behind the last star, and how much of the name it has taken so far.
        let mut retry = None;
        while from < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    at += 1;
                    retry = Some((at, from));
                }
                Some(&c) if c == '?' || c == name[from] => {
                    at += 1;
                    from += 1;
                }
                _ => {
                    let Some((behind_star, taken)) = retry else {
                        return false;
                    };
                    at = behind_star;
                    from = taken + 1;
                    retry = Some((behind_star, from));
                }
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_about_the_whole_name() {
        let matches = |pattern, name| Pattern::parse(pattern).unwrap().matches(name);
        for (pattern, name) in [
            ("", "anything"),
            ("*", "anything"),
            ("lobby", "lobby"),
            ("chat:*", "chat:a:b"),
            ("chat:*", "chat:"),
            ("*:b", "a:b:b"),
            ("a*b*c", "aXbbXc"),
            ("?", "ü"),
            ("*?", "ab"),
            ("**", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("lobby", "lobby2"),
            ("lobby", "Lobby"),
            ("chat:*", "chat"),
            ("?", "ab"),
            ("?", ""),
            ("a*b", "abc"),
            ("*a", "b"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_are_no_trap() {
        let pattern = Pattern::parse(&"a*".repeat(100)).unwrap();
        assert!(!pattern.matches(&("a".repeat(250) + "b")[1..200].replace('a', "b")));
        let pattern = Pattern::parse(&("*a".repeat(100) + "b")).unwrap();
        assert!(!pattern.matches(&"a".repeat(255)));
    }

    #[test]
    fn what_other_servers_understand_is_not_taken_for_a_name() {
        assert_eq!(Pattern::parse("chat:[ab]"), Err('['));
        assert_eq!(Pattern::parse("{a,b}"), Err('{'));
    }
}
