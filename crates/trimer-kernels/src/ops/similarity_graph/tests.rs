use super::{Links, propagate_links, similarity_links};
use crate::testing::gradients::check;
use crate::testing::reference::dot;

/// The scaled weights of all links, of which each is `[from, to, weight]`, in the order of the kernel.
fn similarities(x: &[f64], lengths: &[usize], modalities: usize, across: f64) -> Vec<[f64; 3]> {
    let utterances: usize = lengths.iter().sum();
    let nodes = modalities * utterances;
    let d = x.len() / nodes;
    let row = |i: usize| &x[i * d..(i + 1) * d];
    let weight = |i: usize, j: usize| {
        let (a, b) = (row(i), row(j));
        let length = |x: &[f64]| (dot(x, x) + 1e-12).sqrt();
        let cosine = dot(a, b) / (length(a) * length(b));
        let cosine = if i == j { 1.0 } else { cosine };
        1.0 - (0.99999 * cosine).acos() / std::f64::consts::PI
    };
    let mut links = Vec::new();
    let mut first = 0;
    for length in (0..modalities).flat_map(|_| lengths) {
        for i in first..first + length {
            links.extend((first..first + length).map(|j| (i, j, weight(i, j))));
        }
        first += length;
    }
    for step in 1..modalities {
        let ahead = |i: usize| (i + step * utterances) % nodes;
        links.extend((0..nodes).map(|i| (i, ahead(i), across * weight(i, ahead(i)))));
    }
    let mut degree = vec![0.0; nodes];
    for (i, _, w) in &links {
        degree[*i] += w;
    }
    links
        .into_iter()
        .map(|(i, j, w)| [i as f64, j as f64, w / (degree[i] * degree[j]).sqrt()])
        .collect()
}

#[test]
fn similarity_graphs() {
    for (lengths, modalities, across) in [
        (&[1][..], 1, 1.0),
        (&[3, 0, 17], 1, 1.0),
        (&[9, 1, 3], 2, 0.7),
        (&[2, 40, 5], 3, 1.3),
    ] {
        let nodes = modalities * lengths.iter().sum::<usize>();
        let d = 6;
        let links = Links::new(lengths, modalities, across);
        let what = format!("graph over {lengths:?} in {modalities} modalities");
        check(
            &what,
            &[(nodes * d, 1.0)],
            |x| similarity_links(x[0].clone().reshape([nodes, d]), &links),
            |x| {
                let all = similarities(&x[0], lengths, modalities, across);
                all.iter().map(|[_, _, w]| *w).collect()
            },
        );
        check(
            &format!("sums over the {what}"),
            &[(nodes * d, 1.0), (nodes * 5, 1.0)],
            |x| {
                let weights = similarity_links(x[0].clone().reshape([nodes, d]), &links);
                propagate_links(weights, x[1].clone().reshape([nodes, 5]), &links)
            },
            |x| {
                let mut sums = vec![0.0; nodes * 5];
                for [from, to, w] in similarities(&x[0], lengths, modalities, across) {
                    for c in 0..5 {
                        sums[from as usize * 5 + c] += w * x[1][to as usize * 5 + c];
                    }
                }
                sums
            },
        );
    }
}
