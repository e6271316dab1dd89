//! A token that the server will not take: it is judged and not remembered.

use super::Detector;
use super::event::{Event, Kind};
use super::finding::{CallOutcome, Observation, ProfileId, Verdicts};
use super::judge::Sender;
use super::key::Key;
use super::message::Facts;
use super::text::Text;
use super::token::{Life, Pointer, Token, Who};
use super::verdict::Verdict;

impl Detector {
    /// Judges an event of such a token.
    pub(super) fn judge_invalid(
        &mut self,
        id: ProfileId,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) {
        if event.kind != Kind::AttemptStart {
            let class = self.context.profiles[id.0].classify(event);
            let ends_call = class.ends_call() || event.max_attempts == Some(event.attempt);
            let whole_call = event.kind == Kind::CallEnd && event.call.is_some();
            if !whole_call {
                out.observations.push(Observation::Attempt(id, class));
            }
            // Without a memory of the call, its end is counted where it is told only once.
            if whole_call || (event.call.is_none() && ends_call) {
                out.observations
                    .push(Observation::Call(id, CallOutcome::from(class)));
            }
            return;
        }
        let life = Life::new(1, self.context.now, self.context.order);
        let (api, scope) = self.spaces(event);
        let mut token = Token::new(Text::new(&event.token), api, scope, life);
        let who = Who {
            client: sender.client,
            call: event.call.as_deref().map(Text::new),
            attempt: event.attempt,
            since: self.context.now,
            trace: event.trace,
            serial: 0,
        };
        let facts = Facts::of(&token);
        self.context.judge(id, Key::default(), out).give(
            &mut token,
            &who,
            Verdict::TokenInvalid,
            facts,
            Pointer::default(),
        );
    }
}
