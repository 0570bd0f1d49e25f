"""Photos as people have them through bin/main.py: all that is theirs stays."""

import io

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from zssr_jax import pictures
from zssr_jax.data import image_io
from zssr_jax.data import photo as photo_lib
from zssr_jax.ops import resize

from .helpers import outputs, photo, read_record, save


def result_of(tmp_path, name):
  """The result's samples as another library reads them."""
  path = tmp_path / 'out' / name
  if path.suffix == '.tif':
    return tifffile.imread(path)
  return np.asarray(Image.open(path))


def enlarged(samples, white=1.0):
  """What the training is replaced by."""
  samples = np.asarray(samples, np.float32) / np.float32(white)
  return np.clip(resize.imresize(np.atleast_3d(samples), 2), 0, 1)


@pytest.mark.parametrize('name', ['rgba', 'la'])
def test_alpha_is_kept_and_enlarged_without_fringe(
  tmp_path, cases, cli, quick, name
):
  path = cases / f'a/{name}.png'
  code, _, err = cli(f'--input={path}')
  assert (code, err) == (0, '')
  before = np.asarray(Image.open(path))
  after = result_of(tmp_path, f'{name}_x2.png')
  assert after.shape == (96, 128, before.shape[2])
  alpha = after[..., -1]
  wanted = 255 * enlarged(before[..., -1:], 255)[..., 0]
  assert np.abs(alpha - wanted).mean() < 1
  assert set(np.unique(before[..., -1])) >= {0, 255}
  assert (alpha == 0).any() and (alpha == 255).any()
  # Nothing of what is hidden is mixed into what is visible.
  colour = before[..., :-1].copy()
  colour[before[..., -1] == 0] = 99
  save(tmp_path / f'{name}.png', np.dstack([colour, before[..., -1]]))
  assert cli(f'--input={tmp_path / name}.png', '--overwrite')[0] == 0
  np.testing.assert_array_equal(result_of(tmp_path, f'{name}_x2.png'), after)


def test_what_was_opaque_or_transparent_is_so_exactly(tmp_path, cli, quick):
  """Though the network adds a little everywhere."""
  alpha = np.zeros((24, 28, 1), np.uint8)
  alpha[6:18, 7:21] = 255
  found = photo_lib.read_photo(
    save(tmp_path / 'a.png', np.concatenate([photo(), alpha], -1))
  )
  wrong = enlarged(alpha, 255) * 0.9 + 0.05
  made = pictures._within(wrong, found.alpha, 2)
  assert (made[:8] == 0).all() and (made[16:32, 18:38] == 1).all()
  assert np.isin(made, [0, 1]).mean() < 0.9
  for scale in ((1.5, 1.5), (1, 3), 1.37):
    shape = resize.scaled_shape((24, 28), resize.scale_pair(scale))
    flat = np.full((*shape, 1), 0.5, np.float32)
    made = pictures._within(flat, found.alpha, scale)
    assert made.shape == flat.shape and made[0, 0] == made[-1, -1] == 0


def test_transparent_palettes_become_rgba(tmp_path, cases, cli, quick):
  code, _, err = cli(f'--input={cases / "a/pal_trans.png"}')
  assert code == 0
  assert err.count('\n') == 1
  assert err.startswith('note: ') and 'pal_trans.png: palette' in err
  after = result_of(tmp_path, 'pal_trans_x2.png')
  assert after.shape == (96, 128, 4) and after[..., 3].min() == 0


def test_an_alpha_that_is_opaque_stays_so(tmp_path, cases, cli, quick):
  assert cli(f'--input={cases / "a/rgba_opaque.png"}')[0] == 0
  after = result_of(tmp_path, 'rgba_opaque_x2.png')
  assert after.shape == (96, 128, 4) and (after[..., 3] == 255).all()


@pytest.mark.parametrize(
  ('name', 'output'),
  [
    ('a/g16.png', 'g16_x2.png'),
    ('a/rgb16.png', 'rgb16_x2.png'),
    ('tif/rgb16.tif', 'rgb16_x2.tif'),
  ],
)
def test_sixteen_bits_stay_sixteen(tmp_path, cases, cli, quick, name, output):
  assert cli(f'--input={cases / name}')[0] == 0
  found = photo_lib.read_photo(cases / name)
  after = photo_lib.read_photo(tmp_path / 'out' / output)
  assert after.depth == 'uint16'
  wanted = enlarged(found.colour)
  np.testing.assert_allclose(after.colour, wanted, atol=0.51 / 65535)
  assert len(np.unique(np.round(after.colour * 65535) % 257)) > 100


@pytest.mark.parametrize(
  ('name', 'output'),
  [
    ('tif/greyf32.tif', 'greyf32_x2.tif'),
    ('a/float_neg.tif', 'float_neg_x2.tif'),
  ],
)
def test_floats_keep_their_range(tmp_path, cases, cli, quick, name, output):
  assert cli(f'--input={cases / name}')[0] == 0
  before = tifffile.imread(cases / name)
  after = result_of(tmp_path, output)
  assert after.dtype == np.float32 and after.shape == (96, 128)
  low, high = float(before.min()), float(before.max())
  if low >= 0:
    low, high = 0, 1
  wanted = resize.imresize(before[..., None], 2).clip(low, high)
  np.testing.assert_allclose(after, wanted[..., 0], atol=1e-5 * (high - low))


def test_numbers_with_a_sign_keep_their_range(tmp_path, cli, quick):
  before = photo(channels=1).astype(np.int16) * 100 - 3000
  tifffile.imwrite(tmp_path / 'a.tif', before)
  assert cli(f'--input={tmp_path / "a.tif"}', '--bit_depth=16')[0] == 0
  after = result_of(tmp_path, 'a_x2.tif')
  assert after.dtype == np.int16
  wanted = resize.imresize(before[..., None].astype(np.float32), 2)
  wanted = wanted.clip(before.min(), before.max())
  np.testing.assert_allclose(after, wanted[..., 0], atol=0.6)


@pytest.mark.parametrize('value', [7.0, -1e30])
def test_a_float_image_of_one_value_keeps_it(tmp_path, cli, quick, value):
  tifffile.imwrite(tmp_path / 'a.tif', np.full((24, 28), value, np.float32))
  assert cli(f'--input={tmp_path / "a.tif"}')[0] == 0
  after = result_of(tmp_path, 'a_x2.tif')
  np.testing.assert_array_equal(after, np.float32(value))


def test_cmyk_is_converted_and_said(tmp_path, cases, cli, quick):
  path = cases / 'a/cmyk.jpg'
  code, _, err = cli(f'--input={path}', '--jpeg=auto')
  assert code == 0
  assert err == (
    f'note: {path}: CMYK without a profile converted to RGB the plain way\n'
  )
  assert result_of(tmp_path, 'cmyk_x2.png').shape == (96, 128, 3)
  assert quick[0]['degradation'].jpeg is None


def test_one_bit_becomes_grey(tmp_path, cases, cli, quick):
  assert cli(f'--input={cases / "a/one.png"}')[0] == 0
  with Image.open(tmp_path / 'out/one_x2.png') as image:
    assert image.mode == 'L'


@pytest.mark.parametrize(
  'name', ['a/still.gif', 'a/f.avif', 'a/x.jfif', 'nat/screenshot.png']
)
def test_other_containers_are_read(tmp_path, cases, cli, quick, name):
  path = cases / name
  assert cli(f'--input={path}')[0] == 0
  after = result_of(tmp_path, f'{path.stem}_x2.png')
  wanted = 255 * enlarged(photo_lib.read_photo(path).colour)
  np.testing.assert_allclose(after, wanted, atol=0.51)


def test_folders_take_them_all(tmp_path, cases, cli, quick):
  (tmp_path / 'in').mkdir()
  for name in ('still.gif', 'f.avif', 'x.jfif'):
    (tmp_path / 'in' / name).write_bytes((cases / 'a' / name).read_bytes())
  (tmp_path / 'in/notes.txt').write_text('no picture')
  assert cli(f'--input={tmp_path / "in"}')[0] == 0
  assert [n for n in outputs(tmp_path) if n.endswith('.png')] == [
    'f_x2.png',
    'still_x2.png',
    'x_x2.png',
  ]


@pytest.mark.parametrize('name', ['anim.webp', 'multipage.tif'])
def test_of_several_pages_one_is_to_be_chosen(
  tmp_path, cases, cli, quick, name
):
  path = cases / 'a' / name
  code, out, err = cli(f'--input={path}')
  assert (code, out) == (2, '')
  assert err.count('\n') == 1 and 'FILE[1] to FILE[4]' in err
  assert outputs(tmp_path) == [] and not quick
  code, _, err = cli(f'--input={path}[3]')
  assert (code, err) == (0, '')
  suffix = '.tif' if path.suffix == '.tif' else '.png'
  stem = f'{path.stem}_p3_x2'
  assert outputs(tmp_path) == [f'{stem}.json', f'{stem}{suffix}']
  assert read_record(tmp_path, stem)['page'] == 3
  chosen = photo_lib.read_photo(path, page=3).colour
  after = photo_lib.read_photo(tmp_path / f'out/{stem}{suffix}').colour
  np.testing.assert_allclose(after, enlarged(chosen), atol=0.51 / 255)


def test_the_page_of_a_reference_is_chosen_likewise(tmp_path, cli, quick):
  path = save(tmp_path / 'a.png')
  pages = [Image.fromarray(photo(48, 56)) for _ in range(2)]
  truth = tmp_path / 'truth.tif'
  pages[0].save(truth, save_all=True, append_images=pages[1:])
  code, _, err = cli(f'--input={path}', f'--reference={truth}')
  assert code == 2 and 'FILE[1] to FILE[2]' in err
  code, out, err = cli(f'--input={path}', f'--reference={truth}[2]')
  assert code == 0 and 'dB' in out, err


def test_four_bands_stay_four(tmp_path, cases, cli, quick):
  path = cases / 'tif/rgbnir8.tif'
  assert cli(f'--input={path}')[0] == 0
  after = result_of(tmp_path, 'rgbnir8_x2.tif')
  wanted = 255 * enlarged(photo_lib.read_photo(path).colour)
  assert after.shape == (96, 128, 4)
  np.testing.assert_allclose(after, wanted, atol=0.51)


@pytest.mark.parametrize('bands', [2, 5])
def test_any_number_of_bands_stays(tmp_path, cli, quick, bands):
  before = photo(channels=bands)
  tifffile.imwrite(
    tmp_path / 'a.tif', before, photometric='minisblack', planarconfig='contig'
  )
  assert cli(f'--input={tmp_path / "a.tif"}')[0] == 0
  after = result_of(tmp_path, 'a_x2.tif')
  np.testing.assert_allclose(after, 255 * enlarged(before, 255), atol=0.51)


def test_a_georeference_is_kept_with_finer_pixels(tmp_path, cases, cli, quick):
  path = cases / 'tif/geo8.tif'
  assert cli(f'--input={path}')[0] == 0
  with (
    tifffile.TiffFile(path) as before,
    tifffile.TiffFile(tmp_path / 'out/geo8_x2.tif') as after,
  ):
    old, new = (file.pages[0].tags for file in (before, after))
    assert new[33550].value[:2] == tuple(v / 2 for v in old[33550].value[:2])
    for tag in (33922, 34735):
      assert new[tag].value == old[tag].value


@pytest.mark.parametrize('value', [-9999, np.nan])
def test_pixels_without_data_stay_without(tmp_path, cli, quick, value):
  before = photo(channels=1).astype(np.float32) * 10 + 500
  hole = before.copy()
  hole[4:9, 20:25] = hole[15, 3] = value
  empty = hole != before
  tag = [(42113, 's', 0, str(value), True)]
  tifffile.imwrite(tmp_path / 'a.tif', hole, extratags=tag)
  code, _, err = cli(f'--input={tmp_path / "a.tif"}')
  assert code == 0
  assert err.count('\n') == 1 and 'without data' in err
  after = result_of(tmp_path, 'a_x2.tif')
  holes = empty.repeat(2, 0).repeat(2, 1)
  np.testing.assert_array_equal(after[holes], np.float32(value))
  # The range is that of the data, and nothing of the number is mixed in.
  rest = after[~holes]
  assert before.min() <= rest.min() and rest.max() <= before.max()
  clean = resize.imresize(before[..., None], 2)[..., 0]
  assert np.abs(rest - clean[~holes]).mean() < 10
  code, out, err = cli(
    f'--input={tmp_path / "a.tif"}',
    f'--reference={tmp_path / "out/a_x2.tif"}',
    f'--output={tmp_path / "scored"}',
    '--report',
  )
  assert code == 0 and 'dB' in out, err


@pytest.mark.parametrize('empty', [0, 255])
def test_no_data_become_none_by_rounding(tmp_path, cli, quick, empty):
  before = photo(channels=1)
  before[before == empty] = abs(empty - 1)
  assert np.abs(before.astype(int) - empty).min() == 1
  before[4:9, 20:25] = empty
  tag = [(42113, 's', 0, str(empty), True)]
  tifffile.imwrite(tmp_path / 'a.tif', before, extratags=tag)
  for flags in ([], ['--bit_depth=16']):
    assert cli(f'--input={tmp_path / "a.tif"}', '--overwrite', *flags)[0] == 0
    after = result_of(tmp_path, 'a_x2.tif')
    number = empty * (257 if flags else 1)
    holes = (before == empty).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(after == number, holes)


def test_bits_for_which_a_missing_number_is_none_are_refused(
  tmp_path, cli, quick
):
  before = photo(channels=1) / np.float32(255)
  before[3, 4] = np.nan
  tifffile.imwrite(tmp_path / 'a.tif', before)
  code, _, err = cli(f'--input={tmp_path / "a.tif"}', '--bit_depth=16')
  assert code == 2 and 'without data do not fit uint16' in err
  assert outputs(tmp_path) == []


@pytest.mark.parametrize(
  ('name', 'flags', 'shape'),
  [
    ('a/rgba.png', [], [96, 128, 4]),
    ('a/rgba_opaque.png', [], [96, 128, 4]),
    ('a/rgba_opaque.png', ['--output_format=jpg'], [96, 128, 3]),
    ('a/la.png', [], [96, 128, 2]),
    ('tif/rgbnir8.tif', [], [96, 128, 4]),
    ('tif/greyf32.tif', [], [96, 128, 1]),
  ],
)
def test_the_record_tells_the_shape_of_the_file(
  tmp_path, cases, cli, quick, name, flags, shape
):
  assert cli(f'--input={cases / name}', *flags)[0] == 0
  (picture,) = [n for n in outputs(tmp_path) if not n.endswith('.json')]
  assert np.atleast_3d(result_of(tmp_path, picture)).shape == tuple(shape)
  record = read_record(tmp_path, picture.split('.')[0])
  assert record['output_shape'] == shape


def seen(image):
  """sRGB float32 of an image of Pillow's, through its profile."""
  profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info['icc_profile']))
  shown = ImageCms.profileToProfile(
    image, profile, ImageCms.createProfile('sRGB')
  )
  return np.asarray(shown, np.float32)


def assert_same_colours(before, after):
  """Of two files, seen through their profiles; returns the differences."""
  with Image.open(before) as old, Image.open(after) as new:
    # Without its profile it would be seen otherwise.
    assert np.abs(seen(old) - np.asarray(old, np.float32)).mean() > 2
    # Enlarged as numbers, like ours: a display cuts off what it cannot show,
    # and after that the interpolation would be of other colours.
    pixels = np.round(255 * enlarged(old, 255)).astype(np.uint8)
    bicubic = Image.fromarray(pixels)
    bicubic.info['icc_profile'] = old.info['icc_profile']
    differences = seen(new) - seen(bicubic)
  assert np.abs(differences.mean((0, 1))).mean() < 0.5
  return differences


def test_colours_are_the_same_through_their_profile(
  tmp_path, cases, cli, quick
):
  path = cases / 'icc/wide.png'
  assert cli(f'--input={path}')[0] == 0
  differences = assert_same_colours(path, tmp_path / 'out/wide_x2.png')
  assert np.abs(differences).mean() < 0.5


def test_a_profile_is_kept(tmp_path, cases, cli, quick):
  path = cases / 'icc/wide.png'
  assert cli(f'--input={path}')[0] == 0
  with (
    Image.open(path) as before,
    Image.open(tmp_path / 'out/wide_x2.png') as after,
  ):
    assert after.info['icc_profile'] == before.info['icc_profile']


@pytest.mark.parametrize('orientation', [None, 6])
def test_exif_and_dpi_are_kept_and_the_image_upright(
  tmp_path, cases, cli, quick, orientation
):
  path = cases / 'icc/meta.jpg'
  if orientation:
    with Image.open(path) as image:
      exif = image.getexif()
      exif[ExifTags.Base.Orientation] = orientation
      path = tmp_path / 'meta.jpg'
      image.save(path, exif=exif, dpi=image.info['dpi'])
  assert cli(f'--input={path}')[0] == 0
  with (
    Image.open(path) as before,
    Image.open(tmp_path / 'out/meta_x2.png') as after,
  ):
    old, new = dict(before.getexif()), dict(after.getexif())
    assert old.pop(ExifTags.Base.Orientation, None) == orientation
    assert old == new
    np.testing.assert_allclose(after.info['dpi'], before.info['dpi'], rtol=1e-3)
  upright = image_io.read_image(path)
  after = image_io.read_image(tmp_path / 'out/meta_x2.png')
  np.testing.assert_allclose(after, enlarged(upright), atol=0.51 / 255)


def test_a_raw_file_is_refused(tmp_path, cases, cli, quick):
  code, out, err = cli(f'--input={cases / "bad/fakeraw.dng"}')
  assert (code, out) == (2, '')
  assert err.count('\n') == 1 and 'raw file' in err
  assert outputs(tmp_path) == [] and not quick


def test_jpeg_tables_are_those_of_the_file(tmp_path, cases, cli, quick):
  path = cases / 'a/x.jfif'
  assert cli(f'--input={path}', '--jpeg=auto')[0] == 0
  np.testing.assert_array_equal(
    quick[0]['degradation'].jpeg.tables, image_io.read_jpeg(path).tables
  )


# ------------------------------------------------------------------ flags


@pytest.mark.parametrize(
  ('flags', 'name', 'container', 'depth'),
  [
    (['--output_format=tif'], 'a_x2.tif', 'TIFF', 'uint8'),
    (['--output_format=png'], 'a_x2.png', 'PNG', 'uint8'),
    (['--output_format=jpg'], 'a_x2.jpg', 'JPEG', 'uint8'),
    (['--bit_depth=16'], 'a_x2.png', 'PNG', 'uint16'),
    (['--bit_depth=8'], 'a_x2.png', 'PNG', 'uint8'),
    (['--bit_depth=32', '--output_format=tif'], 'a_x2.tif', 'TIFF', 'float32'),
    (['--bit-depth=16', '--output-format=tif'], 'a_x2.tif', 'TIFF', 'uint16'),
  ],
)
def test_formats_and_depths(
  tmp_path, cli, quick, flags, name, container, depth
):
  path = save(tmp_path / 'a.png')
  code, out, err = cli(f'--input={path}', *flags)
  assert code == 0, err
  assert out.startswith(name)
  found = photo_lib.read_photo(tmp_path / 'out' / name)
  assert (found.container, found.depth) == (container, depth)
  wanted = enlarged(photo(), 255)
  exact = {'uint8': 0.51 / 255, 'uint16': 0.51 / 65535, 'float32': 1e-6}
  atol = 0.1 if container == 'JPEG' else exact[depth]
  np.testing.assert_allclose(found.colour, wanted, atol=atol)


def test_quality_is_that_of_the_jpeg(tmp_path, cli, quick):
  path = save(tmp_path / 'a.png')
  sizes = []
  for quality in ('40', '100'):
    flags = ('--output_format=jpg', f'--quality={quality}', '--overwrite')
    assert cli(f'--input={path}', *flags)[0] == 0
    sizes.append((tmp_path / 'out/a_x2.jpg').stat().st_size)
  assert 2 * sizes[0] < sizes[1]


@pytest.mark.parametrize('really', ['TIFF', 'PNG'])
def test_a_misnamed_file_comes_out_as_its_name_says(
  tmp_path, cli, quick, really
):
  named = tmp_path / ('a.png' if really == 'TIFF' else 'a.tif')
  Image.fromarray(photo()).save(named, really)
  assert cli(f'--input={named}')[0] == 0
  found = photo_lib.read_photo(tmp_path / f'out/a_x2{named.suffix}')
  assert found.container != really


# ------------------------------------------------------- references, reports


def test_scores_of_floats_are_those_of_what_is_shown(tmp_path, cli, quick):
  """Numbers in another unit give the same score."""
  lr, hr = photo(), photo(48, 56)
  save(tmp_path / 'a.png', lr)
  save(tmp_path / 'hr.png', hr)
  told = []
  for name, samples in (('b', lr), ('hr', hr)):
    stretched = samples.astype(np.float32) * 40 - 2000
    tifffile.imwrite(tmp_path / f'{name}.tif', stretched, photometric='rgb')
  for name, truth in (('a.png', 'hr.png'), ('b.tif', 'hr.tif')):
    code, out, err = cli(
      f'--input={tmp_path / name}', f'--reference={tmp_path / truth}'
    )
    assert code == 0, err
    told.append(out.split(' dB')[0].split()[-1])
  assert told[0] == told[1]
  code, _, err = cli(
    f'--input={tmp_path / "a.png"}',
    f'--reference={tmp_path / "hr.tif"}',
    '--overwrite',
  )
  assert code == 2
  assert 'hr.tif: holds numbers outside [0, 1], but' in err


def test_a_report_shows_any_photo(tmp_path, cases, cli, quick):
  (tmp_path / 'in').mkdir()
  names = ('a/rgba.png', 'a/float_neg.tif', 'tif/rgbnir8.tif', 'a/g16.png')
  for name in names:
    path = cases / name
    (tmp_path / 'in' / path.name).write_bytes(path.read_bytes())
  code, _, err = cli(f'--input={tmp_path / "in"}', '--report')
  assert code == 0, err
  page = (tmp_path / 'out/report.html').read_text()
  for name in names:
    assert (cases / name).stem + '_x2' in page


def test_references_may_have_alpha_and_depth_of_their_own(
  tmp_path, cases, cli, quick
):
  path = cases / 'a/rgba.png'
  found = photo_lib.read_photo(path)
  truth = enlarged(photo_lib.bleed(found.colour, found.alpha))
  deep = np.floor(truth * 65535 + 0.5).astype(np.uint16)
  tifffile.imwrite(tmp_path / 'hr.tif', deep, photometric='rgb')
  code, out, err = cli(
    f'--input={path}', f'--reference={tmp_path / "hr.tif"}', '--report'
  )
  assert code == 0, err
  assert 'rgba_x2_side_by_side.png' in outputs(tmp_path)
  # It is what the training is replaced by, but for rounding.
  assert float(out.split(' dB')[0].split()[-1]) > 55


# --------------------------------------------------------- really trained


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'output', 'shape', 'depth'),
  [
    ('a/rgba.png', 'rgba_x2.png', (96, 128, 3), 'uint8'),
    ('a/la.png', 'la_x2.png', (96, 128, 1), 'uint8'),
    ('tif/rgbnir8.tif', 'rgbnir8_x2.tif', (96, 128, 4), 'uint8'),
    ('a/float_neg.tif', 'float_neg_x2.tif', (96, 128, 1), 'float32'),
  ],
)
def test_a_network_enlarges_all_of_it(
  tmp_path, cases, cli, name, output, shape, depth
):
  path = cases / name
  code, _, err = cli(f'--input={path}', '--config.max_steps=2')
  assert code == 0, err
  before = pictures.read(path, None)
  after = pictures.read(tmp_path / 'out' / output, None, before.unit)
  assert after.photo.colour.shape == shape
  assert after.photo.depth == depth
  assert np.abs(after.image - enlarged(before.image)).mean() < 0.03
  if before.planes is not None:
    assert np.abs(after.planes - enlarged(before.planes)).mean() < 0.03


@pytest.mark.slow
def test_a_network_keeps_the_colours_of_a_profile(tmp_path, cases, cli):
  path = cases / 'icc/wide.png'
  assert cli(f'--input={path}', config='--config=fast')[0] == 0
  # It is sharper than bicubic, so that only the mean can be the same.
  assert_same_colours(path, tmp_path / 'out/wide_x2.png')


@pytest.mark.slow
def test_text_comes_out_crisp_and_without_coloured_traces(tmp_path, cases, cli):
  with Image.open(cases / 'nat/screenshot.png') as image:
    text = image.crop((0, 16, 96, 64))  # grey, below the blue title
  text.save(tmp_path / 'text.png')
  before = np.asarray(text)
  assert np.ptp(before, axis=-1).max() == 0
  path = tmp_path / 'text.png'
  assert cli(f'--input={path}', config='--config=fast')[0] == 0
  after = np.asarray(result_of(tmp_path, 'text_x2.png'), np.float32) / 255
  traces = np.ptp(255 * after, axis=-1)
  assert traces.max() <= 4 and traces.mean() < 0.5
  grey, bicubic = after.mean(-1), enlarged(before, 255).mean(-1)
  for axis in (0, 1):  # steeper edges
    steep = [np.abs(np.diff(i, axis=axis)).mean() for i in (grey, bicubic)]
    assert steep[0] > 1.1 * steep[1]
  assert grey.std() > bicubic.std()
  assert grey.min() <= bicubic.min()
