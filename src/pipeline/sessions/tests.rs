use super::*;

const T0: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn session(number: usize) -> Session {
    Session::new(7, &format!("s{number}")).unwrap()
}

fn id(number: u64) -> ConnectionId {
    ConnectionId(number)
}

#[test]
fn a_name_belongs_to_its_user_and_has_1_to_64_bytes() {
    let longest = "é".repeat(32);
    let session = Session::new(7, &longest).unwrap();
    assert_eq!((session.uid(), session.name()), (7, longest.as_bytes()));
    assert_ne!(session, Session::new(8, &longest).unwrap());
    assert_eq!(Session::new(7, ""), None);
    let mut room = [0; Session::BYTES_MAX];
    assert_eq!(Session::read(session.write(&mut room)), Some(session));
    for length in [65, 256, 256 + 5] {
        assert_eq!(Session::new(7, &"x".repeat(length)), None, "{length}");
    }
    // A zero byte is one as any other.
    assert_ne!(Session::new(7, "a\0"), Session::new(7, "a"));
}

#[test]
fn a_position_only_rises() {
    let mut sessions = Sessions::default();
    let (one, _) = sessions.join(session(1), 5, id(1), T0);
    assert_eq!((one.joined.read, sessions.read(&one)), (4, 4));
    assert!(!sessions.advance(&one, 9, T0));
    assert!(!sessions.advance(&one, 7, T0));
    assert_eq!(sessions.read(&one), 9);
    // It comes back with what it does not know to be read.
    let (two, _) = sessions.join(session(1), 6, id(2), T0);
    assert_eq!((two.joined.read, sessions.read(&one)), (9, 9));
    // It gave up some lines.
    let (three, _) = sessions.join(session(1), 21, id(3), T0);
    assert_eq!((three.joined.read, sessions.read(&one)), (20, 20));
}

#[test]
fn attempts_stay_with_the_session_s_first_connection_until_its_newest_ends() {
    let mut sessions = Sessions::default();
    let (one, _) = sessions.join(session(1), 1, id(1), T0);
    assert!(sessions.ends_with(&one));
    let (two, _) = sessions.join(session(1), 1, id(2), T0);
    assert_eq!((two.joined.connection, two.own), (id(1), id(2)));
    assert!(!sessions.ends_with(&one) && sessions.ends_with(&two));
}

#[test]
fn a_session_that_is_pushed_out_goes_on_with_its_connection() {
    let mut sessions = Sessions::default();
    let (first, _) = sessions.join(session(0), 1, id(0), T0);
    sessions.advance(&first, 10, T0);
    let lost = |sessions: &mut Sessions, number: usize, now| {
        sessions.join(session(number), 1, id(number as u64), now).1
    };
    for number in 1..SESSIONS_MAX {
        assert!(!lost(&mut sessions, number, T0), "{number}");
    }
    assert!(lost(&mut sessions, SESSIONS_MAX, T0));
    assert_eq!(sessions.positions().count(), SESSIONS_MAX);
    assert!(sessions.ends_with(&first));
    // Lines from the one that it had joined with on are not known any more.
    assert_eq!(sessions.read(&first), 0);
    assert!(sessions.advance(&first, 11, T0), "another one made room");
    assert_eq!(sessions.read(&first), 11);
    let (back, _) = sessions.join(session(0), 9, id(5000), T0);
    assert_eq!((back.joined.read, back.joined.connection), (11, id(0)));
    // One that was silent for long is not expected any more.
    let later = T0 + RETURNS_WITHIN;
    assert!(!lost(&mut sessions, 9999, later));
    assert_eq!(sessions.positions().count(), SESSIONS_MAX);
}

#[test]
fn what_has_changed_is_told_once_and_all_of_it_can_be_put_back() {
    let mut sessions = Sessions::default();
    let (one, _) = sessions.join(session(1), 1, id(1), T0);
    let (two, _) = sessions.join(session(2), 1, id(2), T0);
    assert_eq!(sessions.take_advanced(), None, "nothing was read yet");
    sessions.advance(&two, 4, T0);
    sessions.advance(&one, 3, T0);
    let wanted = |thread: &Thread, read| Position {
        read,
        ..thread.joined
    };
    assert_eq!(sessions.take_advanced(), Some(wanted(&one, 3)));
    assert_eq!(sessions.take_advanced(), None);
    let all: Vec<_> = sessions.positions().collect();
    assert_eq!(all, [wanted(&two, 4), wanted(&one, 3)]);
    let mut restored = Sessions::default();
    all.iter().for_each(|one| restored.restore(*one, T0));
    assert_eq!(restored.positions().collect::<Vec<_>>(), all);
    assert_eq!(restored.take_advanced(), None);
    let (again, _) = restored.join(session(2), 2, id(9), T0);
    assert_eq!((again.joined.read, again.joined.connection), (4, id(2)));
}
