/* SPDX-License-Identifier: Apache-2.0 */
/* A process and all it will ever start stay in the process group they are in, so that killing the
 * group leaves nothing behind. */
#ifndef ADAPTERS_HOST_GROUP_H
#define ADAPTERS_HOST_GROUP_H

/* From now on setsid and setpgid fail with EPERM here and in everything started from here. Needs
 * PR_SET_NO_NEW_PRIVS; system calls only, for use between fork and exec. Without effect where the
 * kernel has no filters (CONFIG_SECCOMP_FILTER), or on a machine that is neither x86-64 nor 64-bit
 * ARM. */
void group_keep(void);

#endif
