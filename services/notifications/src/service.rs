//! The handler: from a sign-up to its mail.

use tidings::prelude::{Cx, DeadLetter, Handle, Handled, OrElse, Plan, Retry, Service, Units};

use crate::event::{MailSent, UserSignedUp};
use crate::mailer::{Address, Mail, Mailer};

/// Sends a mail for each sign-up.
#[derive(Debug)]
pub struct Notifications<M> {
    mailer: M,
}

impl<M> Notifications<M> {
    /// Sends by this mailer.
    pub const fn new(mailer: M) -> Self {
        Self { mailer }
    }
}

impl<M: Mailer> Service for Notifications<M> {
    const GROUP: &'static str = "notifications";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        // Eight users at once, each user's events in order: a mailer mostly waits.
        plan.workers(8).on::<UserSignedUp>(|handler| {
            handler
                .timeout(10.secs())
                .retry(Retry::exponential(100.millis()..=30.secs()).attempts(20))
                .give_up(DeadLetter)
        })
    }
}

impl<M: Mailer> Handle<UserSignedUp> for Notifications<M> {
    async fn handle(&mut self, user: UserSignedUp, cx: &mut Cx) -> Handled {
        // No later attempt can mend an address: a dead letter now.
        let to = user.email.parse::<Address>().fatal()?;
        // Any other error: again later.
        self.mailer.send(&welcome(to, &user.name, cx.event_id())).await?;
        let about = cx.event_id().to_owned();
        cx.emit(MailSent { user_id: user.user_id, about });
        Ok(())
    }
}

fn welcome(to: Address, name: &str, event_id: &str) -> Mail {
    let name = if name.is_empty() { to.as_str() } else { name };
    let body = format!("Dear {name},\n\nyour account is ready.\n");
    Mail { subject: "Welcome".to_owned(), body, event_id: event_id.to_owned(), to }
}
