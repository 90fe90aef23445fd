/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `holdfast staging check`: is mgccomp consistent in itself? Reads in short pages beside whatever
 * runs, with memory that does not grow with what is staged, and changes nothing.
 */
#ifndef MGCCOMP_CHECK_H
#define MGCCOMP_CHECK_H

#include "base/app.h"
#include "mgccomp/staging.h"

/* [--json]. Exit 0: no finding. 1: each is a line. */
int staging_check_command(struct app_io *io, struct staging *st, int argc, char **argv);

#endif
