//! Names and the values of query strings: what is let through keeps the limits and reads again as the
//! same; what is not is told why.

use std::fmt::Display;

use slabcast::{
    config::units::{format_duration, format_size, parse_duration, parse_size},
    id::{NAME_BYTES_MAX, RoomName, UserId},
    protocol::{api::Pattern, plain::Since},
};

use super::text::assert_harmless;

/// Takes `input` for two texts, with a line end between them.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (text, other) = text.split_once('\n').unwrap_or((&text, ""));
    let room = RoomName::parse(text);
    check_name(text, room.as_ref().map(RoomName::as_str), false);
    let user = UserId::parse(text);
    if !text.is_empty() {
        check_name(text, user.as_ref().map(UserId::as_str), true);
    }
    if let (Ok(room), Ok(user)) = (&room, UserId::parse(other)) {
        check_admission(room, &user);
    }
    if let Ok(user) = &user {
        check_personal_room(user);
    }
    check_since(text);
    check_pattern(text, other);
    check_units(text);
}

fn check_name<E: Display>(text: &str, name: Result<&str, E>, is_user: bool) {
    let bytes_max = NAME_BYTES_MAX - usize::from(is_user);
    let separates = is_user && text.contains(['#', ',']);
    let is_control = text.chars().any(char::is_control);
    let is_good = (1..=bytes_max).contains(&text.len()) && !is_control && !separates;
    match name {
        Ok(name) => assert_eq!(name, text),
        Err(ref error) => assert_harmless(&error.to_string(), 128),
    }
    assert_eq!(name.is_ok(), is_good, "{text:?}");
}

fn check_admission(room: &RoomName, user: &UserId) {
    let named: Option<Vec<_>> = room
        .as_str()
        .rfind('#')
        .map(|at| room.as_str()[at + 1..].split(',').collect());
    let may = named.is_none_or(|named| !user.is_anonymous() && named.contains(&user.as_str()));
    assert_eq!(room.admits(user), may, "{room} {user:?}");
    let namespace = room.as_str().find(':').map(|at| &room.as_str()[..at]);
    assert_eq!(room.namespace(), namespace);
}

/// It is a name as any other, and nobody else is admitted there.
fn check_personal_room(user: &UserId) {
    let Some(room) = user.personal_room() else {
        assert!(user.is_anonymous());
        return;
    };
    assert_eq!(RoomName::parse(room.as_str()).as_ref(), Ok(&room));
    assert!(room.admits(user));
    assert!(!room.admits(&UserId::default()));
    let longer = UserId::parse(&format!("{}x", user.as_str()));
    assert!(longer.is_err() || !room.admits(&longer.unwrap()));
}

fn check_since(text: &str) {
    let Some(since) = Since::parse(text) else {
        return;
    };
    let again = match &since {
        Since::Now => "now".to_owned(),
        Since::Start => "start".to_owned(),
        Since::Offset(offset) => offset.to_string(),
        Since::Position { epoch, offset } => {
            assert!(!epoch.is_empty() && !epoch.contains(':'));
            format!("{epoch}:{offset}")
        }
    };
    assert_eq!(Since::parse(&again), Some(since), "{text:?}");
}

/// Against a plain matcher.
fn check_pattern(pattern: &str, name: &str) {
    if pattern.len().saturating_mul(name.len()) > 10_000 {
        return;
    }
    let has_unknown = pattern.contains(['[', ']', '{', '}', '\\']);
    match Pattern::parse(pattern) {
        Err(unknown) => assert!(pattern.contains(unknown) && has_unknown),
        Ok(read) => {
            assert!(!has_unknown);
            let letters: Vec<_> = pattern.chars().collect();
            let name_letters: Vec<_> = name.chars().collect();
            let wanted = pattern.is_empty() || fits(&letters, &name_letters);
            assert_eq!(read.matches(name), wanted, "{pattern:?} {name:?}");
        }
    }
}

fn fits(pattern: &[char], name: &[char]) -> bool {
    // How many letters of the name what was looked at of the pattern can stand for.
    let mut can_be = vec![false; name.len() + 1];
    can_be[0] = true;
    for letter in pattern {
        if *letter == '*' {
            for count in 1..=name.len() {
                can_be[count] |= can_be[count - 1];
            }
        } else {
            for count in (1..=name.len()).rev() {
                let is_it = *letter == '?' || *letter == name[count - 1];
                can_be[count] = can_be[count - 1] && is_it;
            }
            can_be[0] = false;
        }
    }
    can_be[name.len()]
}

fn check_units(text: &str) {
    match parse_duration(text) {
        Ok(duration) => assert_eq!(parse_duration(&format_duration(duration)), Ok(duration)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match parse_size(text) {
        Ok(size) => assert_eq!(parse_size(&format_size(size)), Ok(size)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
