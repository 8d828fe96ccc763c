"""Blocks, windows and bands of images of every shape: pure arithmetic."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_del.errors import ParameterError
from napari_del.tiles.plan import Plan, shape_of

NETWORK = {"core": 64, "margin": 32, "stride": 32, "output_stride": 2}
# Far beyond what could be listed: plans are asked about single blocks of such images.
GIGANTIC = (3_000_017, 2_000_003)


@st.composite
def plans(draw, most=400):
    step = draw(st.integers(4, 12))
    iterations = draw(st.integers(1, 5))
    halo = (2 * iterations + 5) * step
    shape = draw(st.tuples(st.integers(1, most), st.integers(1, most)))
    block = draw(st.one_of(st.integers(halo, most + 1), st.just(max(shape)), st.just(halo)))
    network = draw(st.sampled_from([{}, NETWORK]))
    return Plan(shape, step, block, iterations=iterations, **network)


def covered(shape, areas):
    """How many of the areas each pixel lies in."""
    count = np.zeros(shape, int)
    for area in areas:
        assert all(0 <= part.start < part.stop for part in area)
        count[area] += 1
    return count


@given(plans())
def test_each_pixel_has_one_block(plan):
    blocks = [plan.block_of(key) for key in plan.block_keys]
    assert (covered(plan.shape, [block.core for block in blocks]) == 1).all()
    for block in blocks:
        # Chunks of the store have one writer each.
        assert all(part.start % plan.block == 0 for part in block.core)
        assert max(shape_of(block.core)) <= plan.block


@given(plans())
def test_each_pair_of_neighbours_has_one_block(plan):
    """A border belongs to the block of its upper or left pixel, which sees the other one."""
    for axis in (0, 1):
        pairs = np.zeros(plan.shape, int)
        for key in plan.block_keys:
            block = plan.block_of(key)
            inside = np.zeros(plan.shape, bool)
            inside[block.ring] = True
            core = np.zeros(plan.shape, bool)
            core[block.core] = True
            pairs += core & np.roll(inside, -1, axis)
        last = -1
        others = np.delete(pairs, last, axis)
        assert (others == 1).all()


@given(plans())
def test_extents_are_cells_with_all_that_the_superpixels_of_the_ring_depend_on(plan):
    for key in plan.block_keys:
        block = plan.block_of(key)
        parts = zip(block.ring, block.extent, plan.shape, strict=True)
        for ring, extent, length in parts:
            assert extent.start % plan.step == 0
            assert extent.stop % plan.step == 0 or extent.stop == length
            # Whole cells before that of the first pixel, and after that of the last.
            first, last = ring.start // plan.step, (ring.stop - 1) // plan.step
            before = first - extent.start // plan.step
            after = -(-extent.stop // plan.step) - 1 - last
            assert before >= plan.halo_cells or extent.start == 0
            assert after >= plan.halo_cells or extent.stop == length
            # And no more, since that would be computed in vain.
            assert before <= plan.halo_cells and after <= plan.halo_cells


@given(plans())
def test_each_pixel_has_one_window_and_blocks_do_not_move_it(plan):
    windows = [plan.window_of(key) for key in plan.window_keys]
    if not plan.has_network:
        assert windows == []
        return
    assert (covered(plan.shape, [window.core for window in windows]) == 1).all()
    whole = Plan(plan.shape, plan.step, max(plan.shape), plan.iterations, **NETWORK)
    assert whole.window_keys == plan.window_keys
    for window in windows:
        assert all(part.start % plan.stride == 0 for part in window.extent)
        assert all((part.stop - part.start) % plan.stride == 0 for part in window.extent)
        for around, core, length in zip(plan.around(window), window.core, plan.shape, strict=True):
            assert around.start == max(0, core.start - plan.output_stride)
            assert around.stop == min(length, core.stop + plan.output_stride)


@given(plans(), st.integers(1, 400))
def test_each_id_has_one_band_and_blocks_do_not_move_it(plan, cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_del.tiles.plan._BAND_CELLS", cells)
        bands = [plan.band_of(key) for key in plan.band_keys]
        assert bands[0].first == 1 and bands[-1].stop == plan.grid.largest_id + 1
        for k, band in enumerate(bands):
            assert band.first < band.stop
            assert plan.band_of_id(band.first) == plan.band_of_id(band.stop - 1) == k
            if k:
                assert band.first == bands[k - 1].stop
        whole = replace(plan, block=max(plan.shape))
        assert [whole.band_of(key) for key in whole.band_keys] == bands


@given(plans(), st.integers(1, 400), st.data())
def test_tables_of_a_band_are_of_all_blocks_and_windows_where_its_superpixels_can_be(
    plan, cells, data
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_del.tiles.plan._BAND_CELLS", cells)
        for key in plan.band_keys:
            band = plan.band_of(key)
            # Clusters reach one cell further, and what they take over two more at most.
            if key == plan.band_keys[-1]:
                rows = range(plan.shape[0])
            else:
                first = (band.first - 1) // plan.grid.columns
                last = (band.stop - 2) // plan.grid.columns
                rows = range(
                    max(0, (first - 3) * plan.step),
                    min(plan.shape[0], (last + 4) * plan.step),
                )
            row = data.draw(st.sampled_from([rows[0], rows[-1], rows[len(rows) // 2]]))
            blocks = set(plan.blocks_in(band))
            for name in plan.block_keys:
                core = plan.block_of(name).core[0]
                assert name in blocks or not core.start <= row < core.stop
            windows = set(plan.windows_in(band))
            for name in plan.window_keys:
                core = plan.window_of(name).core[0]
                # Borders to the next window are told by either.
                assert name in windows or not core.start - 1 <= row <= core.stop


@given(plans())
def test_plans_are_sent_to_other_processes(plan):
    assert pickle.loads(pickle.dumps(plan)) == plan


@pytest.mark.parametrize("step", [4, 8, 31])
def test_the_halo_is_two_cells_for_each_iteration_and_five(step):
    plan = Plan((5000, 5000), step, 1024)
    assert plan.halo_cells == 2 * 5 + 5
    assert plan.halo == 15 * step


def test_ids_have_64_bits_where_they_need_them():
    assert Plan((40_000, 40_000), 8, 2048).ids_dtype == np.int32
    plan = Plan(GIGANTIC, 64, 2048)
    assert plan.ids_dtype == np.int64
    assert plan.grid.largest_id > 2**42


def test_more_superpixels_than_rows_can_be_numbered_are_refused():
    with pytest.raises(ParameterError, match=r"step is 8; expected a larger one"):
        Plan(GIGANTIC, 8, 2048)


@pytest.mark.parametrize(
    ("side", "network", "bands"),
    [
        (5000, False, 1),
        (30_000, False, 27),
        (2000, True, 1),
        (5000, True, 3),
        (10_000, True, 13),
        (14_000, True, 17),
        (30_000, True, 55),
    ],
)
def test_with_a_network_there_are_bands_for_many_workers(side, network, bands):
    plan = Plan((side, side), 8, 2048, **(NETWORK if network else {}))
    assert len(plan.band_keys) - 1 == bands


def test_plans_of_gigantic_images_answer_at_once():
    plan = Plan(GIGANTIC, 64, 2048, **{**NETWORK, "core": 1024})
    i, j = GIGANTIC[0] // 2048, GIGANTIC[1] // 2048
    assert len(plan.block_keys) == (i + 1) * (j + 1)
    assert plan.block_keys[-1] == f"{i}_{j}"
    block = plan.block_of(f"{i}_{j}")
    assert tuple(part.stop for part in block.core) == GIGANTIC
    assert plan.band_of_id(plan.grid.n_cells) == len(plan.band_keys) - 2
    assert plan.band_of_id(plan.grid.largest_id) == len(plan.band_keys) - 1


@pytest.mark.parametrize("block", [0, -5, 119, 8, 256.0, "256", None, float("nan")])
def test_blocks_that_are_no_blocks(block):
    with pytest.raises(ParameterError, match=r"block is .*at least 120 pixels, the halo") as error:
        Plan((5000, 5000), 8, block)
    assert repr(block) in str(error.value) and "\n" not in str(error.value)


def test_a_block_may_be_smaller_than_the_halo_if_it_is_the_image():
    assert Plan((40, 60), 8, 60).block_keys == ("0_0",)
    assert Plan((1, 1), 8, 1).block_of("0_0").extent == (slice(0, 1), slice(0, 1))
    with pytest.raises(ParameterError, match="block is 59"):
        Plan((40, 60), 8, 59)
