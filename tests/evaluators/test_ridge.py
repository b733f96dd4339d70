import numpy as np
import pytest

from trajvit.evaluators.ridge import ridge_accuracy


@pytest.fixture
def classes(rng):
  """Three classes around their own centres; a fourth label is unknown."""
  labels = np.arange(90) % 3
  centres = 4 * np.eye(3, 5) + 7
  return centres[labels] + rng.normal(size=(90, 5)), labels


def test_classes_that_are_apart_are_found(classes):
  x, labels = classes
  assert ridge_accuracy(x[:60], labels[:60], x[60:], labels[60:]) > 90


def test_features_that_say_nothing_are_at_chance(rng, classes):
  _, labels = classes
  noise = rng.normal(size=(90, 2))
  found = ridge_accuracy(noise[:60], labels[:60], noise[60:], labels[60:])
  assert found < 70


def test_the_scale_of_a_feature_does_not_matter(classes):
  x, labels = classes
  scaled = x * np.array([1, 10, 100, 0.1, 1]) - 3
  for features in (x, scaled):
    found = ridge_accuracy(
      features[:60], labels[:60], features[60:], labels[60:]
    )
    assert found == ridge_accuracy(x[:60], labels[:60], x[60:], labels[60:])


def test_clips_without_a_class_are_left_out(classes):
  x, labels = classes
  unknown = labels.copy()
  unknown[60:70] = -1
  expected = ridge_accuracy(x[:60], labels[:60], x[70:], labels[70:])
  found = ridge_accuracy(x[:60], labels[:60], x[60:], unknown[60:])
  assert found == expected
  with pytest.raises(ValueError, match="60 to train on and 0 to test"):
    ridge_accuracy(x[:60], labels[:60], x[60:], np.full(30, -1))
