//! Fits against what can be worked out by hand.

use super::*;
use burn::tensor::Device;

const ROWS: [[f32; 2]; 6] = [
    [0.0, 1.0],
    [1.0, 0.5],
    [2.0, -1.0],
    [3.0, 0.0],
    [4.0, 2.0],
    [5.0, -0.5],
];

#[test]
fn many_rows_are_summed_like_one_after_another() {
    let n = 3 * TOGETHER + 7;
    let x: Vec<f64> = (0..2 * n).map(|i| (i as f64 * 0.7).sin()).collect();
    let classes: Vec<u32> = (0..n).map(|i| (i % 3) as u32).collect();
    let problem = Problem {
        x: &x,
        width: 2,
        outputs: 3,
        classes: &classes,
        scores: &[],
        penalty: 0.0,
        task: Task::Classification { n_classes: 3 },
    };
    let unknowns = [0.3, -0.2, 0.1, 0.5, -0.4, 0.7, 0.01, -0.02, 0.03];
    let (mut together, mut alone) = (vec![0.0; 9], vec![0.0; 9]);
    let sum = problem.losses(0..n, &unknowns, &mut together);
    let one_by_one: f64 = (0..n)
        .map(|i| problem.losses(i..i + 1, &unknowns, &mut alone))
        .sum();
    assert!((sum - one_by_one).abs() < 1e-9 * sum);
    for (a, b) in together.iter().zip(&alone) {
        assert!(
            (a - b).abs() < 1e-9 * n as f64,
            "{together:?} and {alone:?}"
        );
    }
}

fn fitted(task: Task, c: f64) -> Logistic {
    let device = Device::flex();
    let input = InputSpec {
        n_speakers: None,
        dims: ModalityMap {
            audio: Some(2),
            ..ModalityMap::default()
        },
        lengths: ModalityMap {
            audio: 1,
            ..ModalityMap::default()
        },
        sampling: ModalityMap::default(),
    };
    let cfg = LogisticConfig {
        c,
        statistics: vec![Statistic::Mean],
        iterations: 1000,
    };
    let mut init = Initializer::new(0, &device);
    let model = cfg.build(&input, task, &mut init).unwrap();
    let audio = Sequence::new(ROWS.concat(), [6, 1, 2], &[1; 6], &device);
    let classes = match task {
        Task::Classification { n_classes: 2 } => [0, 0, 1, 1, 0, 1],
        _ => [0, 0, 1, 2, 1, 2],
    };
    let classes = classes.map(Some);
    let scores = [0.5, -0.2, 1.0, 2.0, 1.5, 3.0].map(Some);
    let batch = Batch {
        indices: (0..6).collect(),
        conversations: None,
        sequences: ModalityMap {
            audio: Some(audio),
            ..ModalityMap::default()
        },
        labels: HeadMap::from_fn(|_| classes.to_vec()),
        scores: HeadMap::from_fn(|_| scores.to_vec()),
    };
    let columns = HeadMap::from_fn(|head| head);
    model.fit(&mut std::iter::once(batch), columns)
}

fn assert_near(ours: Vec<f32>, theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() < 2e-4, "{ours:?} for {theirs:?}");
    }
}

// scikit-learn, `LogisticRegression(C=0.5)` and `Ridge(alpha=2)` on the standardised rows.
#[test]
fn the_solution_is_scikit_learns() {
    let classes = fitted(Task::Classification { n_classes: 3 }, 0.5)
        .multimodal_model
        .unwrap();
    assert_near(
        to_vec(classes.linear.weight.val()),
        &[-0.620210, 0.207199, 0.152738, 0.079098, 0.467472, -0.286297],
    );
    // A common shift of all intercepts changes nothing: both are compared at mean zero.
    assert_near(
        to_vec(classes.linear.bias.val()),
        &[-0.078829, 0.103035, -0.024206],
    );
    let two = fitted(Task::Classification { n_classes: 2 }, 0.5)
        .multimodal_model
        .unwrap();
    let weight = to_vec(two.linear.weight.val());
    let difference = vec![weight[2] - weight[0], weight[3] - weight[1]];
    assert_near(difference, &[0.407278, -0.731116]);
    let scores = fitted(Task::Regression, 0.5).multimodal_model.unwrap();
    assert_near(to_vec(scores.linear.weight.val()), &[0.668375, -0.165900]);
    assert_near(to_vec(scores.linear.bias.val()), &[1.3]);
}

#[test]
fn every_statistic_is_over_real_frames_only() {
    let device = Device::flex();
    let values = vec![1.0, 3.0, 99.0, 5.0, 99.0, 99.0, 99.0, 99.0, 99.0];
    let sequence = Sequence::new(values, [3, 3, 1], &[2, 1, 0], &device);
    let kinds = [
        Statistic::Mean,
        Statistic::Std,
        Statistic::Min,
        Statistic::Max,
    ];
    assert_eq!(
        to_vec(statistics(&sequence, &kinds)),
        [2.0, 1.0, 1.0, 3.0, 5.0, 0.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0]
    );
}
