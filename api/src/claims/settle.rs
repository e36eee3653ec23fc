//! Which of the edits of a fleet can be taken together. Two fixpoints: edits that meet nobody else's places, oldest
//! first; then those that exchange places among each other.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{ClaimReason, Claimant, Conflict, HostPath, ObjectPresence};

/// Says of each of the claimants, which all are of one fleet, what keeps it from what it wants.
#[must_use]
pub fn settle<'a>(claimants: &[Claimant<'a>]) -> Vec<Option<Conflict<'a>>> {
    let mut settling = ClaimResolver::of(claimants);
    loop {
        settling.accept_in_order();
        if !settling.accept_exchange() {
            break;
        }
    }
    let mut conflicts = vec![None; claimants.len()];
    for at in settling.open.clone() {
        conflicts[at] = settling.conflict(at);
    }
    conflicts
}

type Age<'a> = (Timestamp, &'a str, &'a str);

/// Places being given out.
struct ClaimResolver<'c, 'a> {
    claimants: &'c [Claimant<'a>],
    ages: Vec<Option<Age<'a>>>,
    /// Who has each place, the owner first: whose edit was accepted, or whoever serves it. While one hands a place over both
    /// have it, and if the first gives it up the next is the owner.
    owners: HashMap<HostPath<'a>, Vec<PlaceOwner>>,
    /// Edits that are not accepted, the oldest first.
    open: Vec<usize>,
}

#[derive(Clone, Copy)]
struct PlaceOwner {
    at: usize,
    /// Since when it serves the place; none if it only wants it.
    since: Option<Timestamp>,
}

impl<'c, 'a> ClaimResolver<'c, 'a> {
    fn of(claimants: &'c [Claimant<'a>]) -> Self {
        let ages: Vec<_> = claimants.iter().map(Claimant::age).collect();
        let mut served = Vec::new();
        for (at, claimant) in claimants.iter().enumerate() {
            let live = claimant.live;
            served.extend(
                claimant
                    .serves()
                    .filter_map(|place| Some((live?.since(place.0, place.1), ages[at], at, place))),
            );
        }
        // Of what a deleted release has left and another one serves already, that one is the owner.
        served.sort_unstable_by_key(|(since, age, at, _)| (claimants[*at].is_left(), *since, *age));
        let mut owners: HashMap<_, Vec<_>> = HashMap::new();
        for (since, _, at, place) in served {
            owners.entry(place).or_default().push(PlaceOwner {
                at,
                since: Some(since),
            });
        }
        let wants = |at: &usize| claimants[*at].wanted.is_some();
        let mut open: Vec<usize> = (0..claimants.len()).filter(wants).collect();
        open.sort_unstable_by_key(|at| ages[*at]);
        Self {
            claimants,
            ages,
            owners,
            open,
        }
    }

    /// Accepts each edit whose places nobody else has, the oldest first, until there is no other.
    fn accept_in_order(&mut self) {
        while let Some(next) = self
            .open
            .iter()
            .position(|at| self.obstructed(*at).is_none())
        {
            let at = self.open.remove(next);
            self.give(at);
        }
    }

    /// Accepts edits that wait for nothing but each other, as two that exchange their hosts do. Says whether there
    /// were any.
    fn accept_exchange(&mut self) -> bool {
        let mut together = self.open.clone();
        loop {
            let misfit = together.iter().rposition(|at| !self.fits(*at, &together));
            match misfit {
                Some(misfit) => drop(together.remove(misfit)),
                None => break,
            }
        }
        // The first of them may give up what others take, so all places are free before any is given.
        together.iter().for_each(|at| self.release(*at));
        together.iter().for_each(|at| self.give(*at));
        self.open.retain(|at| !together.contains(at));
        !together.is_empty()
    }

    /// Whether all places that an edit wants are free once all of `together` have what they want. Of two of them that
    /// want the same the older fits.
    fn fits(&self, at: usize, together: &[usize]) -> bool {
        let older = || together.iter().take_while(|other| **other != at);
        self.claimants[at].wants().all(|place| {
            let leaves =
                |owner: PlaceOwner| together.contains(&owner.at) && !self.wants(owner.at, place);
            let free = self.barriers(at, place).all(leaves);
            free && !older().any(|other| self.wants(*other, place))
        })
    }

    fn wants(&self, at: usize, place: HostPath<'a>) -> bool {
        self.claimants[at].wants().any(|wanted| wanted == place)
    }

    /// Gives up what it serves and does not want.
    fn release(&mut self, at: usize) {
        for place in self.claimants[at]
            .serves()
            .filter(|place| !self.wants(at, *place))
            .collect::<Vec<_>>()
        {
            self.take_out(at, place);
        }
    }

    /// Has what it wants from now on, and nothing else.
    fn give(&mut self, at: usize) {
        self.release(at);
        for place in self.claimants[at].wants() {
            let since = self.take_out(at, place).and_then(|owner| owner.since);
            self.owners
                .entry(place)
                .or_default()
                .insert(0, PlaceOwner { at, since });
        }
    }

    fn take_out(&mut self, at: usize, place: HostPath<'a>) -> Option<PlaceOwner> {
        let owners = self.owners.get_mut(&place)?;
        owners
            .iter()
            .position(|owner| owner.at == at)
            .map(|found| owners.remove(found))
    }

    /// Those who have a place before `at` has it, and to whom it is closed.
    fn barriers(&self, at: usize, place: HostPath<'a>) -> impl Iterator<Item = PlaceOwner> {
        let owners = self.owners.get(&place).into_iter().flatten().copied();
        owners
            .take_while(move |owner| owner.at != at)
            .filter(move |owner| self.blocks(owner.at, at))
    }

    /// A place that the edit wants and another release has; of several the one that is served the longest, else the one
    /// of the oldest release.
    fn obstructed(&self, at: usize) -> Option<(HostPath<'a>, PlaceOwner)> {
        let obstacles = self.claimants[at].wants().filter_map(|place| {
            let owner = self.barriers(at, place).next()?;
            Some((place, owner))
        });
        obstacles.min_by_key(|(_, owner)| (owner.since.is_none(), owner.since, self.ages[owner.at]))
    }

    /// Whether what `owner` has is closed to `other`. What a deleted release leaves is its namespace's.
    fn blocks(&self, owner: usize, other: usize) -> bool {
        let namespace = |at: usize| self.ages[at].map(|(_, namespace, _)| namespace);
        let left = self.claimants[owner].standing == ObjectPresence::Gone
            && namespace(owner) == namespace(other);
        owner != other && !left
    }

    fn conflict(&self, at: usize) -> Option<Conflict<'a>> {
        let ((host, path), owner) = self.obstructed(at)?;
        let (created, namespace, name) = self.ages[owner.at]?;
        let right = match (owner.since, self.claimants[owner.at].reserved) {
            (Some(_), Some(until)) => ClaimReason::Reserved(until),
            (Some(since), None) => ClaimReason::Serves(since),
            (None, _) if self.ages[at].is_some_and(|(mine, ..)| mine == created) => {
                ClaimReason::First
            }
            (None, _) => ClaimReason::Older,
        };
        Some(Conflict {
            owner: owner.at,
            name: (namespace, name),
            right,
            host,
            path,
        })
    }
}
