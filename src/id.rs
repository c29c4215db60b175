//! Names of things: rooms, users, clients, connections. Parsed once, then trusted.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest room or user name that any configuration may allow, in bytes.
///
/// It is what the Centrifugo protocol's servers allow by default. Ten times as much would make
/// random room names a cheaper way to fill the server's memory; a tenth would refuse names that
/// carry two UUIDs.
pub const NAME_BYTES_MAX: usize = 255;

/// The name of a room: 1 to 255 bytes of UTF-8 without control characters.
///
/// What stands before the first `:` is its namespace, which selects the room's options. A name with
/// a `#` belongs to the users named after it, separated by commas (`dialog#42,43`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// Takes `name` if it can be a room's name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it and what would be right.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        check("room", name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `:`, if anything does.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once(':').map(|(namespace, _)| namespace)
    }

    /// Whether `user` may be in this room as far as its name tells: a room without `#` is open, one
    /// with it belongs to the users who stand after the last `#`.
    #[must_use]
    pub fn admits(&self, user: &UserId) -> bool {
        match self.0.rsplit_once('#') {
            None => true,
            Some((_, users)) => {
                !user.is_anonymous() && users.split(',').any(|name| name == user.as_str())
            }
        }
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "server")]
impl serde::Serialize for RoomName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Who a connection belongs to: 1 to 254 bytes of UTF-8 without control characters, `#` or `,`. The
/// empty name is everybody's who said none.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UserId(Option<Arc<str>>);

impl UserId {
    /// Takes `name` if it can be a user's name; the empty name is the anonymous user.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it and what would be right.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Ok(Self(None));
        }
        check("user", name)?;
        // A private room names its users behind a #, with commas between them: whoever could call
        // himself "a,b" would share a room with a.
        if let Some(character) = name.chars().find(|c| matches!(c, '#' | ',')) {
            return Err(NameError::Separator { character });
        }
        // With a # before it, it is the name of a room.
        if name.len() == NAME_BYTES_MAX {
            let bytes = name.len();
            return Err(NameError::TooLong {
                what: "user",
                bytes,
                bytes_max: NAME_BYTES_MAX - 1,
            });
        }
        Ok(Self(Some(name.into())))
    }

    /// The room in which all connections of this user are; none for the anonymous user.
    #[must_use]
    pub fn personal_room(&self) -> Option<RoomName> {
        let name = self.0.as_deref()?;
        Some(RoomName(format!("#{name}").into()))
    }

    /// The name as text, empty for the anonymous user.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether nobody said who this is.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A client's place in one room: a slab slot and the generation that tells its owners apart.
///
/// A slab hands a freed slot to the next comer. The generation never repeats within a room, so a
/// late leave can't touch the slot's next owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    /// Where in the slab.
    pub slot: usize,
    /// Which of the slot's owners, counted over the room's life.
    pub generation: u64,
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong {
            what,
            bytes: name.len(),
            bytes_max: NAME_BYTES_MAX,
        });
    }
    if let Some(character) = name.chars().find(|c| c.is_control()) {
        return Err(NameError::Control { what, character });
    }
    Ok(())
}

/// Why a text can't be a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing in it.
    Empty {
        /// What it should have named.
        what: &'static str,
    },
    /// It is longer than it may be.
    TooLong {
        /// What it should have named.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// A user's name holds what separates users in the name of a private room.
    Separator {
        /// The first one found.
        character: char,
    },
    /// It holds a control character, which would forge lines in logs and terminals.
    Control {
        /// What it should have named.
        what: &'static str,
        /// The first one found.
        character: char,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { what } => {
                write!(
                    f,
                    "{what} name is empty, must be 1 to {NAME_BYTES_MAX} bytes"
                )
            }
            Self::TooLong {
                what,
                bytes,
                bytes_max,
            } => write!(f, "{what} name of {bytes} bytes exceeds {bytes_max}"),
            Self::Separator { character } => write!(
                f,
                "user name holds {character:?}, which separates users in the names of private rooms"
            ),
            Self::Control { what, character } => write!(
                f,
                "{what} name holds the control character U+{:04X}, must be printable",
                u32::from(*character)
            ),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_is_1_to_255_bytes_without_control_characters() {
        assert!(RoomName::parse("chat:lobby").is_ok());
        assert!(RoomName::parse("чат — 日本").is_ok());
        assert!(RoomName::parse(&"x".repeat(255)).is_ok());
        assert_eq!(RoomName::parse(""), Err(NameError::Empty { what: "room" }));
        assert_eq!(
            RoomName::parse(&"x".repeat(256)),
            Err(NameError::TooLong {
                what: "room",
                bytes: 256,
                bytes_max: 255
            })
        );
        assert_eq!(
            RoomName::parse("a\nb"),
            Err(NameError::Control {
                what: "room",
                character: '\n'
            })
        );
    }

    #[test]
    fn a_private_room_admits_only_the_users_it_names() {
        let user = |name| UserId::parse(name).unwrap();
        let dialog = RoomName::parse("dialog#42,43").unwrap();
        assert!(dialog.admits(&user("42")));
        assert!(dialog.admits(&user("43")));
        assert!(!dialog.admits(&user("4")));
        assert!(!dialog.admits(&user("")));
        assert!(!RoomName::parse("dialog#").unwrap().admits(&user("")));
        assert!(RoomName::parse("lobby").unwrap().admits(&user("")));
    }

    #[test]
    fn a_user_can_not_slip_into_the_rooms_of_others() {
        for name in ["ada,bob", "#bob", "ada#bob", ","] {
            let refused = UserId::parse(name);
            assert!(
                matches!(refused, Err(NameError::Separator { .. })),
                "{name}: {refused:?}"
            );
        }
        assert!(UserId::parse(&"x".repeat(255)).is_err());
        let longest = UserId::parse(&"x".repeat(254)).unwrap();
        let room = longest.personal_room().unwrap();
        assert_eq!(RoomName::parse(room.as_str()).as_ref(), Ok(&room));
        assert!(room.admits(&longest));
        assert!(!room.admits(&UserId::default()));
        assert_eq!(UserId::default().personal_room(), None);
    }

    #[test]
    fn the_namespace_stands_before_the_first_colon() {
        assert_eq!(
            RoomName::parse("chat:a:b").unwrap().namespace(),
            Some("chat")
        );
        assert_eq!(RoomName::parse("lobby").unwrap().namespace(), None);
    }
}
