#!/usr/bin/env bash
# Set up and run every check: style, types, plugin manifest, tests and doctests with coverage.
#
#     bash tests/run.sh                 # all of it
#     bash tests/run.sh -m slow         # arguments go to pytest: here, the slow tests
#
# Installs napari-del with what its tests need into the virtual environment that is active, or
# else into .venv, which it makes. On Debian and Ubuntu it also installs the system libraries
# that Qt needs and a display in memory (Xvfb), where they are missing. PYTHON names the Python
# to make .venv with (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }

# One line a library: the file it consists of and the Debian package that has it.
LIBRARIES="
libEGL.so.1 libegl1
libGL.so.1 libgl1
libOpenGL.so.0 libopengl0
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libglib-2.0.so.0 libglib2.0-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-randr.so.0 libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-xinerama.so.0 libxcb-xinerama0
libxcb-xkb.so.1 libxcb-xkb1
libxkbcommon-x11.so.0 libxkbcommon-x11-0
"

missing_packages() {
    local known library package
    known="$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)"
    while read -r library package; do
        [[ -z "$library" || "$known" == *"$library"* ]] || echo "$package"
    done <<<"$LIBRARIES"
    command -v xvfb-run >/dev/null || echo xvfb
    command -v xauth >/dev/null || echo xauth
    command -v git >/dev/null || echo git
    compgen -G "/usr/lib/*/dri/swrast_dri.so" >/dev/null || echo libgl1-mesa-dri
    [[ -d /usr/share/fonts/truetype/dejavu ]] || echo fonts-dejavu-core
    if [[ -z "${VIRTUAL_ENV:-}" && ! -d .venv ]]; then
        "${PYTHON:-python3}" -c "import ensurepip" 2>/dev/null || echo python3-venv
    fi
}

if command -v apt-get >/dev/null; then
    mapfile -t packages < <(missing_packages)
    if ((${#packages[@]})); then
        say "Installing ${packages[*]}"
        as_root=()
        if ((EUID != 0)); then as_root=(sudo); fi
        ${as_root[@]+"${as_root[@]}"} apt-get update -qq
        ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${packages[@]}"
    fi
fi

if [[ -n "${VIRTUAL_ENV:-}" ]]; then
    environment="$VIRTUAL_ENV"
else
    environment=".venv"
    [[ -d "$environment" ]] || "${PYTHON:-python3}" -m venv "$environment"
fi
python="$environment/bin/python"

say "Installing napari-del for its tests into $environment"
# An installation that is not editable leaves its compiled kernels behind, in a folder that would
# hide the working copy.
"$python" -m pip uninstall --quiet --disable-pip-version-check --yes napari-del 2>/dev/null
rm -rf "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/napari_del"
"$python" -m pip install --quiet --disable-pip-version-check \
    -c tests/constraints.txt -e ".[test]"

say "Style"
"$python" -m ruff check .
"$python" -m ruff format --check --quiet .

say "Types"
"$python" -m mypy

say "Plugin manifest"
"$python" -m npe2 validate --imports napari.yaml
"$python" -m npe2 validate napari-del

say "Tests"
display=()
if command -v xvfb-run >/dev/null; then
    # A display of known size that shows nothing: the screenshot tests look at its pixels.
    display=(xvfb-run -a -s "-screen 0 1600x1200x24 +extension GLX")
    unset WAYLAND_DISPLAY QT_QPA_PLATFORM
fi
exec ${display[@]+"${display[@]}"} "$python" -m pytest --cov --cov-report=term "$@"
