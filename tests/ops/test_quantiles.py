"""Quantiles of a mass along cells, against loops from the definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.quantiles import overlap, quantile_edges


@functools.partial(jax.jit, static_argnums=1)
def cut(mass, count):
  """Edges, and how they cover the cells."""
  edges = quantile_edges(mass, count)
  return edges, overlap(edges, mass.shape[-1])


def slow_edges(mass, count):
  """Walks along the cells until each share of the mass has been passed."""
  edges = [0.0]
  for i in range(1, count):
    left = i / count * mass.sum()
    for j, cell in enumerate(mass):
      if left <= cell:
        edges.append(j + left / cell)
        break
      left -= cell
  return np.array([*edges, len(mass)])


def slow_overlap(edges, length):
  """Counts the middles of many small pieces of every cell."""
  out = np.zeros((len(edges) - 1, length))
  pieces = 2000
  for j in range(length):
    for middle in j + (np.arange(pieces) + 0.5) / pieces:
      k = np.searchsorted(edges, middle, side="right") - 1
      out[k, j] += 1 / pieces
  return out


def test_half_of_the_mass_is_where_the_heavy_cell_begins():
  edges, _ = cut(jnp.array([1.0, 1.0, 2.0]) / 4, 2)
  np.testing.assert_allclose(edges, [0, 2, 3], atol=1e-6)


@pytest.mark.parametrize("count", [1, 5, 11])
def test_edges_and_overlaps_equal_loops(rng, count):
  mass = rng.uniform(0.1, 1, (3, 7))
  edges, cover = cut(mass.astype(np.float32), count)
  assert cover.shape == (3, count, 7)
  for b in range(3):
    expected = slow_edges(mass[b], count)
    np.testing.assert_allclose(edges[b], expected, atol=1e-5)
    np.testing.assert_allclose(cover[b], slow_overlap(expected, 7), atol=2e-3)


def test_intervals_share_the_mass_and_the_cells(rng):
  mass = rng.uniform(0.1, 1, (3, 7)).astype(np.float32)
  cover = np.asarray(cut(mass, 5)[1])
  np.testing.assert_allclose(cover.sum(-2), 1, atol=1e-5)
  held = (cover * mass[:, None]).sum(-1)
  equal = np.broadcast_to(mass.sum(-1, keepdims=True) / 5, held.shape)
  np.testing.assert_allclose(held, equal, rtol=1e-4)


def test_a_cut_moves_with_the_mass_as_differences_say(rng):
  mass = rng.uniform(0.1, 1, 6)
  slopes = jax.jit(jax.jacobian(lambda m: cut(m, 4)[0]))(mass.astype("f"))
  step = 1e-6
  for j in range(6):
    moved = mass + step * (np.arange(6) == j)
    expected = (slow_edges(moved, 4) - slow_edges(mass, 4)) / step
    np.testing.assert_allclose(slopes[:, j], expected, atol=1e-3)


def test_cells_without_mass_are_covered_and_have_finite_gradients():
  weights = np.arange(3.0)[:, None] * np.arange(4.0)

  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(mass):
    edges, cover = cut(mass, 3)
    return (cover * weights).sum(), (edges, cover)

  loss = jax.jit(loss)
  for mass in ([0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1]):
    (_, (edges, cover)), grad = loss(np.array(mass, np.float32))
    assert (np.diff(edges) >= 0).all() and edges[0] == 0 and edges[-1] == 4
    np.testing.assert_allclose(cover.sum(0), 1, atol=1e-6)
    assert np.isfinite(grad).all()
