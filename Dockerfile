# fem_selection in a container: Debian, its Python, the FEniCSx wheel, MPI.
#
#   docker build -t fem-selection . && mkdir -p runs
#   docker run --rm -v "$PWD/runs:/selection/runs" --user "$(id -u)" fem-selection train demos/digits.toml
#
# Debian's own Python (3.13 in trixie) is used: the wheels run on 3.12 and later.  `.python-version` names the oldest of
# these for work on the code and is not copied.
ARG BASE=debian:trixie-slim

# ── everything that is installed, in one folder ──────────────────────────────────────────────────────────────────────
FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv
WORKDIR /source
RUN python3 -m venv /opt/selection
ENV PATH=/opt/selection/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# the dependencies are a layer of their own: it stays while only the code changes
COPY pyproject.toml README.md LICENSE ./
RUN mkdir fem_selection && touch fem_selection/__init__.py \
 && pip install --no-compile '.[wheels]' \
 && find /opt/selection -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} +
COPY fem_selection fem_selection
RUN pip install --no-compile --no-deps --force-reinstall . \
 && pip uninstall -y pip \
 && python3 -m compileall -q -j 0 /opt/selection/lib

# ── the image ────────────────────────────────────────────────────────────────────────────────────────────────────────
FROM ${BASE}
# a C compiler and the headers of Python, for forms that the cache below does not hold
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 gcc libc6-dev libpython3-dev \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 selection \
 && install -d -o selection -m 1777 /selection /selection/runs /opt/cache
COPY --from=build /opt/selection /opt/selection
ENV PATH=/opt/selection/bin:$PATH \
    XDG_CACHE_HOME=/opt/cache \
    MPLCONFIGDIR=/opt/cache/matplotlib \
    OMP_NUM_THREADS=1
WORKDIR /selection
COPY meshes meshes
COPY demos demos
USER selection
# compile the forms of the demos' cases once, so that no run has to at its start; the fonts of figures are found too.
# Any user may add to the cache (docker run --user)
RUN set -e; out=$(mktemp -d); \
    run() { name=$1; shift; fem-selection "$@" --output "$out/$name" --set output.fields=false >"$out/log" 2>&1 \
            || { cat "$out/log"; exit 1; }; }; \
    for case in digits digits_optimal disk surface tracking gap; do \
        run $case train demos/$case.toml --set optimizer.max_iterations=1 --set stochastic.epochs=1; \
    done; \
    run galerkin train demos/digits.toml --set space.mode=galerkin --set optimizer.max_iterations=1 \
        --set stochastic.epochs=1; \
    run hjb hjb demos/hjb.toml --set hjb.cells=8 --set hjb.levels=2 --set hjb.starts=1; \
    run forward forward demos/forward.toml --set forward.until=1; \
    run steady steady demos/steady.toml; \
    run hopf stability demos/hopf.toml; \
    rm -rf "$out"; chmod -R a+rwX /opt/cache
VOLUME /selection/runs
ENTRYPOINT ["fem-selection"]
CMD ["--help"]
