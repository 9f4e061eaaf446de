# SPDX-License-Identifier: MIT
"""What touches the disk: run folders, checkpoints, fields for ParaView."""
