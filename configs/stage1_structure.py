# Stage 1 on COCO at 256×192: SimCC HRNet-W48 teaches SimCC HRNet-W32 by its features, its pose and the lengths of its limbs.
_base_ = ['simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py',
    teacher_checkpoint='checkpoints/simcc_hrnet-w48_coco-256x192.pth',
    distill_losses=dict(
        # Eq. 1, α of Eq. 5; 'mean' is Eq. 1 to the letter
        loss_feat=dict(
            type='FeatureMSELoss', student_channels=32, teacher_channels=48, reduction='sum', loss_weight=5e-5),
        # Eq. 2, β of Eq. 5
        loss_pose=dict(type='PoseL1Loss', use_target_weight=False, hard_teacher=False, loss_weight=0.1),
        # Eq. 3, β of Eq. 5; edge_form: 'length' or 'vector'; edge_weights (ω): 'uniform', 'sigma', 'length_std' or numbers
        loss_structure=dict(
            type='StructureLoss',
            edge_form='length',
            edge_weights='uniform',
            hard_teacher=False,
            loss_weight=0.1)),
    # of the soft-argmax in Eq. 2 and 3
    temperature=1.0)

# Eq. 4
custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook', schedule='linear')]
