# Scheme 4 of Table IV: the full stage 1 (Eq. 5).
_base_ = ['../crowdpose/stage1_structure_crowdpose.py']
