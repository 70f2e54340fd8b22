//! What policies ask of a request: what none of them asks is not made for each request.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{Expr, ExprKind, Var};

/// The parts of a request that some policy reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Uses {
    /// The user, beyond being one.
    pub(super) user: bool,
    context: BTreeSet<String>,
    /// The context as a whole: compared, or handed on.
    whole_context: bool,
}

impl Uses {
    pub(super) fn of<'a>(conditions: impl IntoIterator<Item = &'a Expr>) -> Self {
        let mut uses = Self::default();
        for condition in conditions {
            uses.note(condition);
        }
        uses
    }

    /// Whether some policy reads this attribute of the context.
    pub(super) fn attribute(&self, name: &str) -> bool {
        self.whole_context || self.context.contains(name)
    }

    fn note(&mut self, condition: &Expr) {
        // Each mention of the context is the owner of an attribute, or the context as a whole.
        let (mut mentions, mut attributes) = (0, 0);
        for expression in condition.subexpressions() {
            let (owner, attribute) = match expression.expr_kind() {
                ExprKind::Var(Var::Principal) => {
                    self.user = true;
                    continue;
                }
                ExprKind::Var(Var::Context) => {
                    mentions += 1;
                    continue;
                }
                ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } => (expr, attr),
                ExprKind::ExtHasAttr { expr, attrs } => (expr, attrs.first()),
                _ => continue,
            };
            if matches!(owner.expr_kind(), ExprKind::Var(Var::Context)) {
                attributes += 1;
                self.context.insert(attribute.to_string());
            }
        }
        self.whole_context |= mentions > attributes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(condition: &str) -> (bool, Vec<&'static str>) {
        let uses = Uses::of([&condition.parse::<Expr>().expect("an expression")]);
        let names = ["metered", "regions", "sensitivity", "offline"];
        (uses.user, names.into_iter().filter(|name| uses.attribute(name)).collect())
    }

    #[test]
    fn what_is_read_is_found_wherever_it_stands() {
        assert_eq!(uses("true"), (false, vec![]));
        assert_eq!(uses("context has metered && context.metered"), (false, vec!["metered"]));
        assert_eq!(uses("context has regions.x"), (false, vec!["regions"]));
        assert_eq!(
            uses("if context[\"offline\"] then principal.app == \"x\" else false"),
            (true, vec!["offline"])
        );
        assert_eq!(uses("resource.sensitivity > 1"), (false, vec![]));
        // As a whole: everything.
        let all = vec!["metered", "regions", "sensitivity", "offline"];
        assert_eq!(uses("{a: context}.a.metered"), (false, all.clone()));
        assert_eq!(uses("context == {metered: context.metered}"), (false, all));
    }
}
