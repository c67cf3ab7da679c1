//! Tells the owners of proposals what became of them.

use tidings_types::effect::Effect;
use tidings_types::id::Token;

use crate::port::{Output, ProposeRefused};
use crate::proposals::{Lost, Ticket};

/// The sections of one entry were applied, with these effects.
pub(crate) fn applied(tickets: Vec<Ticket>, effects: &[Effect], answers: &mut Vec<Output>) {
    // They come in the order of their sections.
    let mut given = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Answered { section, answer } => Some((*section, answer)),
            _ => None,
        })
        .peekable();
    for (number, ticket) in (0..).zip(tickets) {
        let answer = given.next_if(|&(section, _)| section == number).map(|(_, answer)| answer);
        match (ticket, answer) {
            (Ticket::Outcome(token), _) => answers.push(Output::Taken { token }),
            // A batch has an answer of this form only if it is no batch at all.
            (Ticket::Command(token) | Ticket::Records(token), Some(answer)) => {
                answers.push(Output::Answered { token, answer: answer.clone() });
            }
            (Ticket::Command(_) | Ticket::Records(_), None) | (Ticket::Own, _) => {}
        }
    }
}

/// Leadership ended.
pub(crate) fn lost(lost: Lost, out: &mut Vec<Output>) {
    let unknown = lost.unknown.into_iter().filter_map(token);
    out.extend(unknown.map(|token| Output::Unknown { token }));
    refused(lost.refused, ProposeRefused::NotLeader, out);
}

/// They surely are not in the log.
pub(crate) fn refused(tickets: Vec<Ticket>, reason: ProposeRefused, out: &mut Vec<Output>) {
    let tokens = tickets.into_iter().filter_map(token);
    out.extend(tokens.map(|token| Output::Refused { token, reason }));
}

fn token(ticket: Ticket) -> Option<Token> {
    match ticket {
        Ticket::Records(token) | Ticket::Outcome(token) | Ticket::Command(token) => Some(token),
        Ticket::Own => None,
    }
}
