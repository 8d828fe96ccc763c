"""The two things a script uses: segment, and the Segmentation that it returns."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from skimage.color import deltaE_cie76

from napari_del import merging, segment, slic
from napari_del.contrast import color_contrast
from napari_del.errors import Cancelled, DeviceError, ImageError, ModelError, ParameterError
from napari_del.graph import adjacency, dissimilarity, number_nodes
from napari_del.models.info import THRESHOLDS
from napari_del.segmentation import Segmentation, load

# Linkages that every model has.
WITHOUT_NETWORK = ("average", "del", "egb")
STAGES = ["normalise", "superpixels", "embedding", "graph"]


def picture(shape=(44, 60), seed=0):
    """Blocks of different colours under noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    palette = rng.integers(40, 216, (12, 3))
    return (palette[(y // 15 * 4 + x // 17) % 12] + rng.integers(-25, 26, (*shape, 3))).astype(
        np.uint8
    )


def hole(shape=(44, 60)):
    """A mask that cuts the image in two parts."""
    mask = np.ones(shape, bool)
    mask[:, 25:31] = False
    mask[5, 40] = False
    return mask


@pytest.fixture(scope="module")
def plain():
    return segment(picture(), model="mean-color")


@pytest.fixture(scope="module")
def masked():
    return segment(picture(), model="mean-color", mask=hole())


@pytest.fixture(scope="module")
def learned(lite_weights):
    """With a boundary channel."""
    return segment(picture(), model=lite_weights, device="cpu")


@pytest.fixture(params=["plain", "masked", "learned"])
def result(request):
    return request.getfixturevalue(request.param)


def thresholds(result, linkage):
    """Some at which the partition changes, the numbers just below them, and the ends."""
    heights = merging.from_fixed(result.hierarchy(linkage).merge_heights)
    at = heights[:: max(1, heights.size // 6)]
    return sorted({0.0, 1.0, 0.3, *at.tolist(), *np.nextafter(at, 0).tolist()})


def partition(labels):
    """Label image with every region numbered by its first pixel."""
    out = np.zeros(labels.size, np.int64)
    numbers, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    out = np.where(numbers == 0, 0, first + 1)[inverse.ravel()]
    return out.reshape(labels.shape)


def same_pairs(labels):
    """For each pair of neighbours in a label image whether they are of one region."""
    return labels[:, 1:] == labels[:, :-1], labels[1:] == labels[:-1]


def test_tables_describe_the_superpixels(result):
    image = picture()
    superpixels = result.superpixels
    expected = slic(image, mask=hole() if (superpixels == 0).any() else None)
    np.testing.assert_array_equal(superpixels, expected)
    numbers, counts = np.unique(superpixels[superpixels > 0], return_counts=True)
    np.testing.assert_array_equal(result.ids, numbers)
    np.testing.assert_array_equal(result.sizes, counts)
    assert result.n_superpixels == numbers.size
    assert result.shape == image.shape[:2]
    assert result.ids.dtype == np.int32 and superpixels.dtype == np.int32
    assert result.sizes.dtype == np.int64
    assert result.embeddings.dtype == np.float32
    assert len(result.embeddings) == numbers.size
    graph = adjacency(number_nodes(superpixels))
    np.testing.assert_array_equal(result.edges, graph.edges)
    np.testing.assert_array_equal(result.border_lengths, graph.lengths)
    d = merging.from_fixed(dissimilarity(result.edges, result.embeddings))
    np.testing.assert_array_equal(result.dissimilarity, d)
    assert json.loads(json.dumps(result.parameters)) == result.parameters


def test_a_boundary_channel_is_there_if_the_model_has_one(plain, learned):
    assert plain.boundary is None
    assert learned.boundary.shape == (len(learned.edges),)
    assert ((learned.boundary > 0) & (learned.boundary < 1)).all()
    assert learned.embeddings.shape[1] == 64


def test_del_regions_are_components_of_the_edges_within_the_threshold(result):
    n = result.n_superpixels
    row = np.zeros(int(result.ids.max()) + 1, np.int64)
    row[result.ids] = np.arange(n)
    for threshold in thresholds(result, "del"):
        u, v = result.edges[result.dissimilarity <= threshold].T
        graph = sparse.coo_array((np.ones(u.size), (u, v)), shape=(n, n))
        count, component = connected_components(graph, directed=False)
        expected = np.where(result.superpixels > 0, 1 + component[row[result.superpixels]], 0)
        labels = result.labels(threshold, "del")
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(partition(labels), partition(expected))
        assert result.n_regions(threshold, "del") == count


def test_average_merges_by_the_geometric_mean_of_dissimilarity_and_boundary(result):
    weight = result.dissimilarity
    if result.boundary is not None:
        weight = np.sqrt(weight * result.boundary)
    tree = merging.average(
        result.edges, merging.to_fixed(weight), result.border_lengths, result.n_superpixels
    )
    for threshold in thresholds(result, "average"):
        rows = tree.cut(merging.threshold_to_fixed(threshold))
        table = np.zeros(int(result.ids.max()) + 1, np.int64)
        table[result.ids] = 1 + rows
        np.testing.assert_array_equal(
            partition(result.labels(threshold)), partition(table[result.superpixels])
        )


def test_the_boundary_channel_changes_the_weights(learned):
    tree = merging.average(
        learned.edges,
        merging.to_fixed(learned.dissimilarity),
        learned.border_lengths,
        learned.n_superpixels,
    )
    assert not np.array_equal(tree.height, learned.hierarchy("average").height)


@pytest.mark.parametrize("linkage", ["average", "del"])
def test_partitions_are_nested(result, linkage):
    before = None
    for threshold in thresholds(result, linkage):
        now = same_pairs(result.labels(threshold, linkage))
        if before is not None:
            assert all((b <= a).all() for a, b in zip(now, before, strict=True))
        before = now


@pytest.mark.parametrize("linkage", WITHOUT_NETWORK)
def test_regions_are_numbered_from_one_and_masked_pixels_are_zero(result, linkage):
    for threshold in (0.0, 0.1, 0.4, 1.0):
        labels = result.labels(threshold, linkage)
        np.testing.assert_array_equal(labels == 0, result.superpixels == 0)
        numbers, first = np.unique(result.superpixels, return_index=True)
        of_superpixel = labels.ravel()[first][numbers > 0]
        _, order = np.unique(of_superpixel, return_index=True)
        # Numbers rise with the first superpixel of a region.
        assert of_superpixel[np.sort(order)].tolist() == list(range(1, order.size + 1))
        assert result.n_regions(threshold, linkage) == order.size
        # No superpixel is cut.
        pairs = np.unique(np.stack([result.superpixels, labels]).reshape(2, -1), axis=1)
        assert pairs.shape[1] == np.unique(result.superpixels).size


@pytest.mark.parametrize("linkage", WITHOUT_NETWORK)
def test_numbers_that_stay_give_the_same_partition(result, linkage):
    for threshold in (0.05, 0.3, 0.6):
        kept = result.labels(threshold, linkage, sequential=False)
        np.testing.assert_array_equal(partition(kept), partition(result.labels(threshold, linkage)))


def test_a_region_keeps_the_number_of_its_largest_part(plain):
    previous = plain.labels(0.0, sequential=False)
    for threshold in thresholds(plain, "average")[1:]:
        now = plain.labels(threshold, sequential=False)
        # Each number in use was in use before, for a part of the same region.
        for number in np.unique(now):
            assert (previous[now == number] == number).any()
        previous = now


def test_n_regions_falls_with_the_threshold_and_threshold_for_inverts_it(result):
    for linkage in ("average", "del"):
        fewest = result.n_regions(1.0, linkage)
        for wanted in (1, 2, 3, 7, 20, result.n_superpixels, 10**6):
            threshold = result.threshold_for(wanted, linkage)
            assert 0 <= threshold <= 1
            n = result.n_regions(threshold, linkage)
            assert n <= max(wanted, fewest)
            assert result.labels(threshold, linkage).max() == n
            if threshold > 0:
                below = float(np.nextafter(threshold, 0))
                assert result.n_regions(below, linkage) > max(wanted, fewest)


@pytest.mark.parametrize("linkage", WITHOUT_NETWORK)
def test_min_size_counts_pixels_and_min_superpixels_superpixels(result, linkage):
    for least in (100, 400):
        labels = result.labels(0.15, linkage, min_size=least)
        sizes = np.bincount(labels.ravel())[1:]
        parts = partition(result.labels(1.0, "del"))  # what no threshold can join
        for region in np.flatnonzero(sizes < least) + 1:
            part = parts[labels == region][0]
            assert (parts == part).sum() == sizes[region - 1]
        assert labels.max() == result.n_regions(0.15, linkage, least)
    labels = result.labels(0.15, linkage, min_superpixels=4)
    pairs = np.unique(np.stack([labels, result.superpixels]).reshape(2, -1), axis=1)
    counts = np.bincount(pairs[0])[1:]
    assert labels.max() == result.n_regions(0.15, linkage, min_superpixels=4)
    assert counts.min() >= 4


def test_min_size_joins_along_the_weakest_edge(plain):
    alone = plain.labels(0.0, "del")
    assert alone.max() == plain.n_superpixels
    least = int(plain.sizes.max()) + 1
    rows = np.arange(plain.n_superpixels, dtype=np.int32)
    weights = merging.to_fixed(plain.dissimilarity)
    rows = merging.join_small(rows, plain.edges, weights, plain.sizes, least)
    table = np.zeros(int(plain.ids.max()) + 1, np.int64)
    table[plain.ids] = 1 + rows
    np.testing.assert_array_equal(
        partition(plain.labels(0.0, "del", least)), partition(table[plain.superpixels])
    )


def test_egb_merges_with_the_weights_of_average(learned):
    weights = merging.to_fixed(np.sqrt(learned.dissimilarity * learned.boundary))
    rows = merging.egb(learned.edges, weights, learned.n_superpixels, 0.4)
    table = np.zeros(int(learned.ids.max()) + 1, np.int64)
    table[learned.ids] = 1 + rows
    np.testing.assert_array_equal(
        partition(learned.labels(0.4, "egb")), partition(table[learned.superpixels])
    )


def test_labels_are_written_to_an_array_that_is_given(masked):
    out = np.full(masked.shape, -7, np.int32)
    assert masked.labels(0.3, out=out) is out
    np.testing.assert_array_equal(out, masked.labels(0.3))


@pytest.mark.parametrize("out", [np.zeros((3, 3), np.int32), np.zeros((44, 60), np.int64)])
def test_an_array_for_labels_that_does_not_fit(plain, out):
    with pytest.raises(ParameterError, match=r"^out has shape .*expected \(44, 60\) and int32"):
        plain.labels(0.3, out=out)


def test_the_default_threshold_is_the_models(plain):
    for linkage in WITHOUT_NETWORK:
        threshold = plain.default_threshold(linkage)
        assert 0 < threshold < 1
        np.testing.assert_array_equal(
            plain.labels(linkage=linkage), plain.labels(threshold, linkage)
        )
        assert plain.n_regions(linkage=linkage) == plain.n_regions(threshold, linkage)


@pytest.mark.parametrize("threshold", [-0.01, 1.5, float("nan"), "high"])
@pytest.mark.parametrize("linkage", WITHOUT_NETWORK)
def test_threshold_out_of_range(plain, threshold, linkage):
    for call in (plain.labels, plain.n_regions):
        with pytest.raises(ParameterError, match="^threshold is .*expected a number from 0 to 1"):
            call(threshold, linkage)


def test_unknown_linkage(plain):
    calls = (
        lambda: plain.labels(0.3, "ward"),
        lambda: plain.n_regions(0.3, "ward"),
        lambda: plain.threshold_for(3, "ward"),
        lambda: plain.hierarchy("ward"),
        lambda: plain.default_threshold("ward"),
    )
    for call in calls:
        with pytest.raises(ParameterError, match="^linkage 'ward' .*average, contrast, del, egb$"):
            call()


def test_egb_has_no_hierarchy(plain):
    for call in (lambda: plain.hierarchy("egb"), lambda: plain.threshold_for(3, "egb")):
        with pytest.raises(ParameterError, match="'egb' has no hierarchy"):
            call()


@pytest.mark.parametrize("value", [-1, 1.5, "big", None])
@pytest.mark.parametrize("name", ["min_size", "min_superpixels"])
def test_minimum_size_out_of_range(plain, name, value):
    for call in (plain.labels, plain.n_regions):
        with pytest.raises(ParameterError, match=f"^{name} is {value!r}; expected a whole number"):
            call(0.3, **{name: value})


@pytest.mark.parametrize("n", [0, -3, 2.5])
def test_number_of_regions_out_of_range(plain, n):
    with pytest.raises(ParameterError, match=f"^n_regions is {n}; expected .* at least 1"):
        plain.threshold_for(n)


def test_a_hierarchy_is_computed_once(plain):
    assert plain.hierarchy("average") is plain.hierarchy("average")


def test_repr_tells_what_it_is(plain):
    assert repr(plain) == (
        f"<Segmentation of 44 x 60 pixels: {plain.n_superpixels} superpixels, "
        f"{len(plain.edges)} edges, model mean-color>"
    )


@given(st.data())
def test_any_image_goes_through(data):
    shape = (data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30)))
    channels = data.draw(st.sampled_from([None, 1, 2, 3, 4]))
    dtype = data.draw(st.sampled_from([bool, np.uint8, np.uint16, np.float32]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    image = rng.integers(0, 2, (*shape, channels) if channels else shape).astype(dtype)
    out = segment(image, model="mean-color", step=data.draw(st.sampled_from([4, 8, 256])))
    labels = out.labels(data.draw(st.floats(0, 1)), data.draw(st.sampled_from(WITHOUT_NETWORK)))
    assert labels.shape == shape and labels.min() == 1


@pytest.mark.parametrize("shape", [(1, 1), (7, 5000)])
def test_images_smaller_than_a_superpixel_or_a_window(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    out = segment(image, model="mean-color")
    assert out.labels(1.0).max() == 1
    assert out.threshold_for(1) <= 1
    assert out.n_regions(0.0) == out.labels(0.0).max()


def test_arrays_of_dask_and_zarr():
    image = picture()
    expected = segment(image, model="mean-color")
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=image, chunks=(16, 16, 3))
    for array in (da.from_array(image, chunks=(11, 13, 2)), stored):
        out = segment(array, model="mean-color")
        np.testing.assert_array_equal(out.superpixels, expected.superpixels)
        np.testing.assert_array_equal(out.embeddings, expected.embeddings)


def test_channels_are_chosen_and_remembered():
    image = np.concatenate([picture(), picture(seed=1)], axis=2)
    out = segment(image, model="mean-color", channels=(4, 0))
    expected = segment(image[..., [4, 0]], model="mean-color")
    np.testing.assert_array_equal(out.embeddings, expected.embeddings)
    assert out.parameters["channels"] == [4, 0]
    assert out.embeddings.shape[1] == 2


def test_flat_regions_are_told_apart_at_every_threshold_but_one(two_tone):
    out = segment(two_tone, model="mean-color")
    labels = out.labels(out.threshold_for(2))
    assert labels[24, 28] != labels[2, 2]
    disc = two_tone[..., 0] < 130
    assert ((labels == labels[24, 28]) == disc).mean() > 0.97


def test_progress_tells_the_stages_in_order(lite_weights):
    for model in ("mean-color", lite_weights):
        told = []
        segment(picture(), model=model, progress=lambda *a, told=told: told.append(a))
        assert list(dict.fromkeys(stage for stage, _, _ in told)) == STAGES
        for stage in STAGES:
            steps = [(done, total) for name, done, total in told if name == stage]
            assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1] >= 1
            assert [done for done, _ in steps] == list(range(len(steps)))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("at_end", [False, True])
def test_cancelling_in_any_stage_leaves_no_trace(stage, at_end, lite_weights):
    image, mask = picture(), hole()
    before, threads = image.copy(), torch.get_num_threads()
    expected = segment(image, model=lite_weights, mask=mask, device="cpu")

    def cancel(name, done, total):
        if name == stage and done == (total if at_end else 0):
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        segment(image, model=lite_weights, mask=mask, device="cpu", progress=cancel)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(mask, hole())
    assert torch.get_num_threads() == threads
    # The next run comes to the same result as if nothing had happened.
    out = segment(image, model=lite_weights, mask=mask, device="cpu")
    np.testing.assert_array_equal(out.superpixels, expected.superpixels)
    np.testing.assert_array_equal(out.embeddings, expected.embeddings)


@pytest.mark.parametrize("step", [3, 257, 8.5, True])
def test_step_out_of_range(step):
    with pytest.raises(ParameterError, match=f"^step is {step}; expected .* from 4 to 256"):
        segment(picture(), model="mean-color", step=step)


def test_compactness_out_of_range():
    with pytest.raises(ParameterError, match="^compactness is 0; expected"):
        segment(picture(), model="mean-color", compactness=0)


def test_unknown_model_lists_those_known():
    with pytest.raises(ModelError, match="'sam' .*del-lite, del-vgg16, mean-color"):
        segment(picture(), model="sam")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 4, 5)), "4 dimensions"),
        (np.zeros(5), "1 dimensions"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.zeros((4, 4), complex), "dtype complex128"),
        (np.full((4, 4), "a"), "dtype <U1"),
        (np.full((4, 4), None), "dtype object"),
        (np.full((4, 4), np.nan), "no pixel with finite values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_images_that_cannot_be_segmented(image, message):
    with pytest.raises(ImageError, match=message) as caught:
        segment(image, model="mean-color")
    assert "\n" not in str(caught.value)


def test_masks_that_leave_nothing_or_do_not_fit():
    with pytest.raises(ImageError, match="^no pixel is left to segment"):
        segment(picture(), model="mean-color", mask=np.zeros((44, 60), bool))
    with pytest.raises(ImageError, match="^mask has shape"):
        segment(picture(), model="mean-color", mask=np.ones((60, 44), bool))
    with pytest.raises(ImageError, match="^channel 3 does not exist"):
        segment(picture(), model="mean-color", channels=[3])


@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda")])
def test_cuda_where_there_is_none(device):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(DeviceError, match="needs CUDA.*'cpu' or 'auto'"):
        segment(picture(), model="mean-color", device=device)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:x", ""])
def test_unknown_device(device):
    with pytest.raises(DeviceError, match=f"^device {device!r} is not"):
        segment(picture(), model="mean-color", device=device)


def test_the_same_image_gives_the_same_bytes(learned, lite_weights):
    again = segment(picture(), model=lite_weights, device="cpu")
    assert again.embeddings.tobytes() == learned.embeddings.tobytes()
    assert again.boundary.tobytes() == learned.boundary.tobytes()
    assert isinstance(again, Segmentation)


def test_the_default_model_segments_an_image(two_tone):
    out = segment(two_tone)
    assert out.model == "del-lite"
    labels = out.labels(out.threshold_for(2))
    assert labels[24, 28] != labels[2, 2]


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_mean_colour_on_cuda_equals_the_cpu(channels):
    rng = np.random.default_rng(0)
    image = np.concatenate([picture((120, 150)), rng.integers(0, 256, (120, 150, 2), np.uint8)], 2)
    mask = rng.random((120, 150)) < 0.95
    cpu, cuda = (
        segment(image, model="mean-color", channels=range(channels), mask=mask, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(cpu.superpixels, cuda.superpixels)
    np.testing.assert_array_equal(cpu.embeddings, cuda.embeddings)
    np.testing.assert_array_equal(cpu.dissimilarity, cuda.dissimilarity)
    np.testing.assert_array_equal(cpu.labels(), cuda.labels())


def learned_segmentation(seed=0):
    """A segmentation by a network that is not trained, with a merge function that is not either."""
    from napari_del.contrast import color_moments, color_sums
    from napari_del.merging import MergeFunction
    from napari_del.merging.region_pairs import FEATURES
    from napari_del.normalise import normalise

    rng = np.random.default_rng(seed)
    image = picture(seed=seed)
    plain = segment(image, model="mean-color", step=5)
    nodes = number_nodes(plain.superpixels)
    boundary = rng.integers(0, 2**15, (22, 30)).astype(np.uint16)
    graph = adjacency(nodes, boundary, stride=2)
    function = MergeFunction(
        np.zeros(len(FEATURES)),
        np.ones(len(FEATURES)),
        (rng.normal(0, 0.1, (1, 1, len(FEATURES))),),
        (np.zeros((1, 1)),),
        (0.4, 0.45),
    )
    return Segmentation(
        nodes,
        graph,
        plain.embeddings,
        dissimilarity(graph.edges, plain.embeddings),
        {"learned": 0.5, "average": 0.5, "del": 0.5, "egb": 0.5},
        dict(plain.parameters),
        colors=color_moments(*color_sums(normalise(image).features, nodes), nodes.sizes),
        merge_function=function,
    )


def test_models_with_a_merge_function_merge_by_it_unless_told_otherwise(tmp_path):
    out = learned_segmentation()
    assert out.default_linkage == "learned" and out.linkages == merging.LINKAGES
    np.testing.assert_array_equal(out.labels(0.3), out.labels(0.3, "learned"))
    assert out.n_regions(0.3) == out.labels(0.3).max() != out.labels(0.3, "average").max()
    assert out.n_regions(out.threshold_for(7)) <= 7
    out.save(tmp_path / "kept.zarr")
    again = load(tmp_path / "kept.zarr")
    np.testing.assert_array_equal(again.labels(0.3), out.labels(0.3))


def test_models_without_one_merge_by_average_and_say_so():
    out = segment(picture(), model="mean-color")
    assert out.default_linkage == "average" and "learned" not in out.linkages
    np.testing.assert_array_equal(out.labels(0.3), out.labels(0.3, "average"))
    with pytest.raises(ParameterError, match="mean-color, which has no trained merge function"):
        out.labels(0.3, "learned")
    with pytest.raises(ParameterError, match=r"mean-color, which has no boundary channel; .*egb$"):
        out.labels(0.3, "contrast")


def test_contrast_merges_as_average_with_colours_in_the_weights():
    out = learned_segmentation()
    u, v = out.edges.T
    means = out._tables.colors.means.astype(np.float64)
    distance = deltaE_cie76(means[u], means[v])
    both = np.sqrt(out.dissimilarity * out.boundary)
    weights = merging.to_fixed(np.sqrt(both * (distance / (distance + 40))))
    tree = merging.average(out.edges, weights, out.border_lengths, out.n_superpixels)
    found = out.hierarchy("contrast")
    # Weights are rounded at each step, so they may differ in the last place, of 2**32.
    assert np.abs(found.merge_heights.astype(float) - tree.merge_heights).max() <= 4
    np.testing.assert_array_equal(found.cut(2**31), tree.cut(2**31))
    assert not np.array_equal(found.cut(2**31), out.hierarchy("average").cut(2**31))
    # Small regions join along the weakest edge by the same weights.
    rows = merging.join_small(tree.cut(2**30), out.edges, weights, out.sizes, 300)
    np.testing.assert_array_equal(out.regions(0.25, "contrast", 300), rows)


@pytest.mark.parametrize("planes", [1, 2, 5])
def test_contrast_of_channels_is_that_of_a_grey_image(planes):
    dark, bright = np.full((2, planes), 20, np.float32), np.full((2, planes), 60, np.float32)
    bright[1] = 20
    np.testing.assert_allclose(color_contrast(dark, bright), [0.5, 0], rtol=1e-12)


def test_a_linkage_that_a_file_knows_no_threshold_of_has_one():
    before = learned_segmentation()
    assert before.default_threshold("learned") == 0.5  # as it was given
    assert before.default_threshold("contrast") == THRESHOLDS["contrast"]
    assert before.labels(linkage="contrast").max() == before.n_regions(linkage="contrast")


def test_colors_are_means_over_superpixels():
    from napari_del.contrast import color_moments, color_sums

    rng = np.random.default_rng(0)
    nodes = number_nodes(np.array([[1, 1, 0], [4, 4, 1]], np.int32))
    features = rng.integers(-1600, 1600, (2, 2, 3)).astype(np.int16)
    means, squares = color_moments(*color_sums(features, nodes), nodes.sizes)
    first = features[:, [0, 0, 1], [0, 1, 2]] / 16
    second = features[:, 1, :2] / 16
    np.testing.assert_allclose(means, [first.mean(axis=1), second.mean(axis=1)], rtol=1e-6)
    np.testing.assert_allclose(
        squares, [(first**2).mean(axis=1), (second**2).mean(axis=1)], rtol=1e-6
    )
