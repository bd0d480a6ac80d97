#!/bin/sh
# slim_packages.sh FOLDER: take out of a site-packages what no service of ours ever opens. Every image may use it.
# What the service does need is proved afterwards: the build imports it, and tests/e2e asks the container.
set -eu
cd "$1"

# Tests, type stubs, sources and static libraries of other people's packages: 40 MB that nothing imports.
find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' -o -name '*.h' -o -name '*.c' \) -delete

# botocore describes 400 services of AWS; ours is S3, and what credentials may come from.
if [ -d botocore/data ]; then
    find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} +
    rm -rf boto3/data/[!s]* boto3/examples
fi

# The Python module holds the whole of ONNX Runtime; the shared library beside it is the same again, for C programs
# (28 MB). The tools convert and quantise models, which training does.
rm -rf onnxruntime/capi/libonnxruntime.so* onnxruntime/tools onnxruntime/transformers onnxruntime/quantization \
    onnxruntime/datasets

# numpy's Fortran wrapper and build tools; SQLAlchemy's test kit.
rm -rf numpy/f2py numpy/distutils sqlalchemy/testing
# Pillow reads JPEG and PNG here and draws no text: no decoder that a request must not reach, no fonts.
rm -rf PIL/_avif.*.so PIL/_webp.*.so PIL/_imagingft.*.so PIL/_imagingcms.*.so PIL/_imagingtk.*.so \
    pillow.libs/libavif-* pillow.libs/libwebp* pillow.libs/libsharpyuv-* pillow.libs/libharfbuzz-* \
    pillow.libs/libfreetype-* pillow.libs/libbrotli* pillow.libs/libpng16-* pillow.libs/liblcms2-*

# rich colours source code for 500 languages; our command line shows none.
if [ -d pygments ]; then
    find pygments/lexers -type f -name '*.py' ! -name __init__.py ! -name _mapping.py ! -name python.py -delete
fi

# Symbol tables and debug information: rasterio, uvloop and SQLAlchemy ship 50 MB of them. OpenBLAS was laid out by a
# tool whose work strip does not understand; `check_loads.py` notices if that becomes true of another.
find . -type f -name '*.so*' ! -path './numpy.libs/*' -exec strip --strip-unneeded {} +
