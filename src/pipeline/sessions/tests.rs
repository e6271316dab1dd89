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
    let one = sessions.join(session(1), 5, id(1), T0);
    assert_eq!((one.joined.read, sessions.read(&one)), (4, 4));
    assert_eq!(sessions.advance(&one, 9).read, 9);
    assert_eq!(sessions.advance(&one, 7).read, 9);
    assert_eq!(sessions.read(&one), 9);
    // It comes back with what it does not know to be read.
    let two = sessions.join(session(1), 6, id(2), T0);
    assert_eq!((two.joined.read, sessions.read(&one)), (9, 9));
    // It gave up some lines.
    let three = sessions.join(session(1), 21, id(3), T0);
    assert_eq!((three.joined.read, sessions.read(&one)), (20, 20));
}

#[test]
fn attempts_stay_with_the_session_s_first_connection_until_its_newest_ends() {
    let mut sessions = Sessions::default();
    let one = sessions.join(session(1), 1, id(1), T0);
    let two = sessions.join(session(1), 1, id(2), T0);
    assert_eq!((two.joined.connection, two.own), (id(1), id(2)));
    assert!(!sessions.part(&one, T0).ends);
    assert!(sessions.part(&two, T0).ends);
    let three = sessions.join(session(1), 1, id(3), T0);
    assert_eq!(three.joined.connection, id(1));
}

/// Sessions that come, of which lines are read, and that go.
fn pass(sessions: &mut Sessions, numbers: std::ops::Range<usize>, now: Timestamp) -> usize {
    let one = |number| {
        let thread = sessions.join(session(number), 1, id(number as u64), now);
        sessions.advance(&thread, 10);
        sessions.part(&thread, now).lost
    };
    numbers.map(one).filter(|lost| *lost).count()
}

#[test]
fn a_session_with_a_connection_is_never_forgotten() {
    let mut sessions = Sessions::default();
    let stay = 0..2 * SESSIONS_MAX;
    let join = |number: usize| sessions.join(session(number), 1, id(number as u64), T0);
    let threads: Vec<_> = stay.clone().map(join).collect();
    // As many again come and go.
    let others = stay.end..stay.end + SESSIONS_MAX;
    assert_eq!(pass(&mut sessions, others, T0), 0);
    for thread in &threads {
        assert_eq!(sessions.advance(thread, 7).read, 7);
    }
    // Another connection of one of them finds it.
    let again = sessions.join(session(0), 3, id(9999), T0);
    assert_eq!((again.joined.read, again.joined.connection), (7, id(0)));
    // When one of the two ends the session still has a connection.
    assert!(!sessions.part(&threads[0], T0).lost);
    assert_eq!(sessions.read(&again), 7);
    // One of those that went is forgotten for the first that parts.
    assert!(sessions.part(&threads[1], T0).lost);
    assert_eq!(sessions.connected.len(), 2 * SESSIONS_MAX - 1);
    assert_eq!(sessions.apart.len(), SESSIONS_MAX);
}

#[test]
fn only_a_session_that_may_send_again_what_was_read_is_lost() {
    let full = || {
        let mut sessions = Sessions::default();
        assert_eq!(pass(&mut sessions, 1..SESSIONS_MAX, T0), 0);
        sessions
    };
    let next = |sessions: &mut Sessions, now| pass(sessions, 5000..5001, now);
    let first = session(9000);
    // Of this one nothing was read.
    let mut sessions = Sessions::default();
    let thread = sessions.join(first, 5, id(9000), T0);
    sessions.part(&thread, T0);
    assert_eq!(pass(&mut sessions, 1..SESSIONS_MAX, T0), 0);
    assert_eq!(next(&mut sessions, T0), 0);
    // This one has come back since, knowing all.
    let mut sessions = Sessions::default();
    let thread = sessions.join(first, 1, id(9000), T0);
    sessions.advance(&thread, 10);
    sessions.part(&thread, T0);
    let thread = sessions.join(first, 11, id(9001), T0);
    sessions.part(&thread, T0);
    assert_eq!(pass(&mut sessions, 1..SESSIONS_MAX, T0), 0);
    assert_eq!(next(&mut sessions, T0), 0);
    // These may come back, within a minute, and each is counted once.
    let mut sessions = full();
    let thread = sessions.join(session(0), 1, id(0), T0);
    sessions.advance(&thread, 10);
    assert_eq!(next(&mut sessions, T0), 0, "1024 without a connection");
    assert!(sessions.part(&thread, T0).lost);
    assert_eq!(pass(&mut sessions, 6000..6003, T0), 3);
    let later = T0 + RETURNS_WITHIN;
    assert_eq!(next(&mut sessions, later), 0);
    // One that is forgotten begins anew; one that is not goes on.
    assert_eq!(sessions.join(session(1), 1, id(7000), later).joined.read, 0);
    assert_eq!(
        sessions.join(session(6002), 1, id(7001), later).joined.read,
        10
    );
}

#[test]
fn positions_can_be_put_back() {
    let mut sessions = Sessions::default();
    let one = sessions.join(session(1), 1, id(1), T0);
    let two = sessions.join(session(2), 1, id(2), T0);
    let all = [sessions.advance(&two, 4), sessions.advance(&one, 3)];
    let wanted = |thread: &Thread, read| Position {
        read,
        ..thread.joined
    };
    assert_eq!(all, [wanted(&two, 4), wanted(&one, 3)]);
    let mut restored = Sessions::default();
    assert!(!all.iter().any(|one| restored.restore(*one, T0)));
    let again = restored.join(session(2), 2, id(9), T0);
    assert_eq!((again.joined.read, again.joined.connection), (4, id(2)));
    // Nobody knows what its client knows: the other one is a loss.
    assert_eq!(pass(&mut restored, 100..100 + SESSIONS_MAX, T0), 1);
}
