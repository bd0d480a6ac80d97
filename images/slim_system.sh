#!/bin/sh
# slim_system.sh: make of python:3.11-slim-bookworm a root file system for one service that is not root: no package
# managers, no compilers, no setuid programs. The list of Debian packages stays, for scanners and for the SBOM.
set -eu
lib=/usr/local/lib/python3.11

# pip and what came with it; parts of the library that want a screen, a compiler or a test run
rm -rf "$lib"/site-packages/* "$lib"/ensurepip "$lib"/idlelib "$lib"/lib2to3 "$lib"/tkinter "$lib"/turtledemo \
    "$lib"/turtle.py "$lib"/pydoc_data "$lib"/test "$lib"/config-3.11* "$lib"/lib-dynload/_tkinter.* "$lib"/lib-dynload/nis.* \
    "$lib"/lib-dynload/_test* /usr/local/include /usr/local/share /usr/local/lib/pkgconfig /usr/local/src
find /usr/local/bin -mindepth 1 ! -name 'python*' -delete
find "$lib" -depth -type d \( -name __pycache__ -o -name test -o -name tests \) -exec rm -rf {} +
rm -f /usr/local/bin/python*-config

# apt, perl and the libraries that only they, passwd and mkfs use; what administers a machine; caches; pages for people. Copyright notices stay.
rm -rf /usr/bin/apt* /usr/lib/apt /usr/lib/*-linux-gnu/libapt-* /etc/apt /var/lib/apt /var/cache/* /var/log/* \
    /usr/bin/perl* /usr/lib/*-linux-gnu/perl* /usr/share/perl* /usr/share/man /usr/share/info /usr/share/locale \
    /usr/share/lintian /root/.cache /tmp/*
for name in gnutls unistring p11-kit hogweed nettle db-5.3 gmp idn2 ext2fs perl semanage sepol; do
    rm -f /usr/lib/*-linux-gnu/lib"$name"[.-]*
done
rm -f /usr/bin/gpgv /usr/bin/localedef
find /usr/sbin -mindepth 1 ! -name ldconfig ! -name nologin -delete
rm -rf /usr/share/zoneinfo/right /usr/share/zoneinfo/posix /usr/share/bash-completion /usr/share/gcc
find /usr/share/doc -type f ! -name copyright -delete
# Character sets of the last century: Python and GDAL have their own for what they read.
rm -rf /usr/lib/*-linux-gnu/gconv /usr/share/i18n

find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# Compiled once, here: the root file system is read-only later, and Python would compile its library at every start.
# The bytecode is believed without a look at the source, so that it does not depend on when the image was made.
python3 -m compileall -q --invalidation-mode unchecked-hash "$lib" > /dev/null
