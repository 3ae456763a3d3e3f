//! Who is chosen, and what a record of it says.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const TESSERA: TesseraId = TesseraId::from_bytes([9; 32]);

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A node for itself in a network of its own.
fn alone(number: u8) -> Candidate {
    Candidate { node: node(number), operator: None, network: Some(Network::V4([10, number, 0])) }
}

fn of(number: u8, operator: u8) -> Candidate {
    Candidate { operator: Some(AuthorId::from_bytes([operator; 32])), ..alone(number) }
}

fn filled(candidates: &[Candidate], width: usize, once: bool) -> Vec<Option<NodeId>> {
    let mut holders = vec![None; width];
    fill(TESSERA, candidates, &mut holders, once);
    holders
}

#[test]
fn holders_are_the_first_by_rank_whatever_the_order_of_the_candidates() {
    let mut candidates: Vec<_> = (1..=40).map(alone).collect();
    let holders = filled(&candidates, 24, false);
    let mut ranked: Vec<_> = (1..=40).map(node).collect();
    ranked.sort_by_key(|node| rank(TESSERA, *node));
    assert_eq!(holders, ranked[..24].iter().map(|node| Some(*node)).collect::<Vec<_>>());
    candidates.reverse();
    candidates.extend_from_within(..3);
    assert_eq!(filled(&candidates, 24, false), holders);
    let mut other = vec![None; 24];
    fill(TesseraId::from_bytes([8; 32]), &candidates, &mut other, false);
    assert_ne!(other, holders);
}

#[test]
fn nodes_of_one_operator_are_one_choice_while_there_are_others() {
    let candidates: Vec<_> = (1..=6).map(|number| of(number, 1)).chain((11..=13).map(alone)).collect();
    let domains = |width| {
        let mut count = BTreeMap::<_, u16>::new();
        for holder in filled(&candidates, width, false) {
            let one = candidates.iter().find(|one| Some(one.node) == holder).unwrap();
            *count.entry(one.domain()).or_default() += 1;
        }
        count.into_values().collect::<Vec<_>>()
    };
    assert_eq!(domains(4), [1, 1, 1, 1]);
    assert_eq!(domains(8), [2, 2, 2, 2]);
    assert_eq!(domains(9).into_iter().max(), Some(3));
}

#[test]
fn operator_with_several_machines_spreads_over_them() {
    let candidates: Vec<_> = (1..=2).map(|number| of(number, 1)).collect();
    let holders: BTreeSet<_> = filled(&candidates, 2, false).into_iter().collect();
    assert_eq!(holders.len(), 2);
}

#[test]
fn network_keeps_two_while_there_are_enough_others() {
    let crowded =
        (1..=20).map(|number| Candidate { network: Some(Network::V4([192, 0, 2])), ..alone(number) });
    let candidates: Vec<_> = crowded.chain((21..=24).map(alone)).collect();
    let crowd = |width| {
        let holders = filled(&candidates, width, false);
        holders.into_iter().flatten().filter(|holder| holder.as_bytes()[0] <= 20).count()
    };
    assert_eq!((crowd(6), crowd(7), crowd(24)), (2, 3, 20));
}

#[test]
fn fewer_nodes_keep_several_indices_evenly_or_once() {
    let candidates: Vec<_> = (1..=3).map(alone).collect();
    let count = |once| {
        let mut count = BTreeMap::<_, u16>::new();
        filled(&candidates, 8, once).into_iter().for_each(|holder| *count.entry(holder).or_default() += 1);
        count.into_values().collect::<Vec<_>>()
    };
    let mut evenly = count(false);
    evenly.sort_unstable();
    assert_eq!(evenly, [2, 3, 3]);
    // `None` comes first.
    assert_eq!(count(true), [5, 1, 1, 1]);
    assert_eq!(filled(&[], 3, false), [None; 3]);
}

#[test]
fn only_the_index_without_a_holder_is_given_anew_and_everywhere_to_the_same() {
    let candidates: Vec<_> = (1..=9).map(alone).collect();
    let mut holders = filled(&candidates, 5, false);
    let before = holders.clone();
    let gone = holders[2].take().unwrap();
    let left: Vec<_> = candidates.iter().copied().filter(|one| one.node != gone).collect();
    fill(TESSERA, &left, &mut holders, false);
    assert_ne!(holders[2], Some(gone));
    assert_eq!(holders.iter().collect::<BTreeSet<_>>().len(), 5);
    let mut sixth = vec![None; 6];
    fill(TESSERA, &candidates, &mut sixth, false);
    assert_eq!(holders[2], sixth[5]);
    holders[2] = before[2];
    assert_eq!(holders, before);
}

#[test]
fn network_is_that_of_the_address() {
    let check = |address: &str, expected| assert_eq!(Network::of(address.parse().unwrap()), expected);
    check("192.0.2.7", Network::V4([192, 0, 2]));
    check("::ffff:192.0.2.9", Network::V4([192, 0, 2]));
    check("2001:db8:1:2::3", Network::V6([0x20, 0x01, 0x0d, 0xb8, 0, 1]));
}

#[test]
fn what_one_keeps_twice_is_freed_for_those_who_keep_nothing() {
    let check = |candidates: &[Candidate], before: &[u8], expected: &[Option<u8>]| {
        let mut holders: Vec<_> = before.iter().map(|number| Some(node(*number))).collect();
        spread(candidates, &mut holders);
        assert_eq!(holders, expected.iter().map(|one| one.map(node)).collect::<Vec<_>>());
    };
    let all: Vec<_> = (1..=5).map(alone).collect();
    check(&all, &[1, 2, 3, 1, 2], &[Some(1), Some(2), Some(3), None, None]);
    check(&all[..4], &[1, 2, 3, 1, 2], &[Some(1), Some(2), Some(3), Some(1), None]);
    check(&all[..4], &[1, 1, 1, 2, 2], &[Some(1), Some(1), None, Some(2), None]);
    // Nobody new, or nobody who keeps two: nothing moves.
    check(&all[..3], &[1, 2, 3, 1, 2], &[1, 2, 3, 1, 2].map(Some));
    check(&all, &[1, 2, 3, 4], &[1, 2, 3, 4].map(Some));
    // Another machine of one who keeps some already is nobody new; who is not there may have kept two.
    check(&[of(1, 7), of(2, 7)], &[1, 1], &[Some(1), Some(1)]);
    check(&[alone(2)], &[9, 9], &[Some(9), None]);
}

fn placement(repairer: Option<NodeId>) -> Placement {
    let holders = vec![Some(node(1)), None, Some(node(2)), Some(node(1))];
    Placement { tessera: TESSERA, layout: Checksum::of(b"layout"), version: 3, holders, repairer }
}

#[test]
fn placement_signed_and_parsed_is_the_same() {
    let (author, repairer) = (AuthorKey::from_seed([1; 32]), NodeKey::from_seed([2; 32]));
    let signed = placement(None).sign(&author).unwrap();
    assert_eq!(SignedPlacement::parse(signed.bytes().clone(), TESSERA, author.id()), Ok(signed.clone()));
    assert_eq!(signed.placement().indices(node(1)).collect::<Vec<_>>(), [0, 3]);
    let repaired = placement(Some(repairer.id())).sign_as_repairer(&repairer).unwrap();
    assert_eq!(SignedPlacement::parse(repaired.bytes().clone(), TESSERA, author.id()), Ok(repaired));
}

#[test]
fn forged_placement_is_refused() {
    let (author, other) = (AuthorKey::from_seed([1; 32]), AuthorKey::from_seed([3; 32]));
    let repairer = NodeKey::from_seed([2; 32]);
    let parse = |signed: SignedPlacement, tessera| {
        SignedPlacement::parse(signed.bytes().clone(), tessera, author.id()).unwrap_err().to_string()
    };
    let signed = placement(None).sign(&author).unwrap();
    assert!(parse(signed, TesseraId::from_bytes([0; 32])).contains("it is of tess1"));
    assert!(parse(placement(None).sign(&other).unwrap(), TESSERA).contains("signature of the placement"));
    assert!(placement(Some(node(7))).sign_as_repairer(&repairer).is_err());
    assert!(placement(Some(repairer.id())).sign(&author).is_err());
    let empty = Placement { holders: Vec::new(), ..placement(None) };
    assert!(empty.sign(&author).is_err());
    let wide = Placement { holders: vec![None; 25], ..placement(None) };
    assert!(wide.sign(&author).is_err());
}

#[test]
fn replaced_are_those_whose_indices_somebody_else_has_or_nobody() {
    let replaced = |holders: &[Option<u8>]| {
        let holders = holders.iter().map(|holder| holder.map(node)).collect();
        let newer = Placement { holders, ..placement(None) };
        placement(None).replaced_by(&newer).collect::<Vec<_>>()
    };
    assert_eq!(replaced(&[Some(1), Some(3), Some(2), Some(1)]), []);
    assert_eq!(replaced(&[Some(2), None, None, Some(1)]), [(0, node(1)), (2, node(2))]);
    assert_eq!(replaced(&[Some(1)]), [(2, node(2)), (3, node(1))]);
}
