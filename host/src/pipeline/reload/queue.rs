//! In which order requests are served: the last of several changes wins, and whoever only asks what a
//! change would do is answered after those that came before.

use std::collections::VecDeque;

use tokio::sync::mpsc::Receiver;

use crate::reload::{Refusal, Request};

/// Questions that wait for the change that is being served.
#[derive(Debug, Default)]
pub(super) struct Queue {
    questions: VecDeque<Request>,
}

impl Queue {
    /// The next one to serve, of these; `None` when nobody can ask any more. Nothing is lost where it is
    /// given up.
    pub(super) async fn next(&mut self, waiting: &mut Receiver<Request>) -> Option<Request> {
        if let Some(question) = self.questions.pop_front() {
            return Some(question);
        }
        let first = waiting.recv().await?;
        Some(self.last_of(first, waiting))
    }

    /// The newest change of those that wait, if the first is one; those before it are answered.
    fn last_of(&mut self, first: Request, waiting: &mut Receiver<Request>) -> Request {
        let mut last = first;
        while !last.dry_run
            && let Ok(next) = waiting.try_recv()
        {
            if next.dry_run {
                self.questions.push_back(next);
                continue;
            }
            let superseded = std::mem::replace(&mut last, next);
            // Nobody listens: that is fine.
            let _ = superseded.answer.send(Err(Refusal::Superseded));
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::deployment::{Trigger, Version};
    use crate::reload::{Report, Wanted};

    type Answered = oneshot::Receiver<Result<Report, Refusal>>;

    /// A request for a version, and its answer.
    fn request(version: u32, dry_run: bool) -> (Request, Answered) {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            wanted: Wanted::Version(Version(version)),
            trigger: Trigger::Api,
            dry_run,
            answer,
        };
        (request, answered)
    }

    #[tokio::test]
    async fn the_last_change_wins_and_questions_are_served_after_it_in_their_order() {
        let (send, mut waiting) = mpsc::channel(8);
        let mut answers = Vec::new();
        for (version, dry_run) in [
            (1, true),
            (2, false),
            (3, true),
            (4, false),
            (5, true),
            (6, false),
        ] {
            let (request, answered) = request(version, dry_run);
            send.try_send(request).unwrap();
            answers.push(answered);
        }
        drop(send);
        let mut queue = Queue::default();
        let mut served = Vec::new();
        while let Some(request) = queue.next(&mut waiting).await {
            served.push(request.wanted);
            request.answer.send(Ok(Report::default())).unwrap();
        }
        let expected = [1, 6, 3, 5].map(|version| Wanted::Version(Version(version)));
        assert_eq!(served, expected);
        for (index, answered) in answers.into_iter().enumerate() {
            let expected = match index {
                1 | 3 => Err(Refusal::Superseded),
                _ => Ok(Report::default()),
            };
            assert_eq!(answered.await.unwrap(), expected, "{index}");
        }
    }
}
